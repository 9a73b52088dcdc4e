"""Real programs on the test's own database and Redis."""

from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.troupe import troupe  # noqa: F401
