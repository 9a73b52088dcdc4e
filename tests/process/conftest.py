"""Real programs on the test's own database and Redis."""

from tests.harness.dummy_supervisor import dummies  # noqa: F401
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
