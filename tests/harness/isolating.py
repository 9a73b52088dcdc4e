"""A role's isolation of its items, for a role that a test steps itself."""

from __future__ import annotations

from taskhub.roles.isolation import Isolation
from taskhub.roles.state import RoleState


def isolation() -> Isolation:
    """One that has seen no trouble yet."""
    return Isolation(RoleState("tested"))
