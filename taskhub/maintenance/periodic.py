"""The one loop that all roles share: run each when it is due, wait out an absent dependency, say so once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from taskhub import clock, failpoints
from taskhub.domain.backoff import reconnect_delay_s
from taskhub.domain.errors import TaskhubError, UnavailableError
from taskhub.logs import get_logger

log = get_logger(__name__)

_NAP_S = 0.25


@dataclass
class Role:
    """A step to be done every so often; the step must end by itself and may be repeated."""

    name: str
    every_s: float
    step: Callable[[], None]
    due_s: float = 0.0
    failures: int = 0


def run_roles(roles: list[Role], is_wanted: Callable[[], bool], wait: Callable[[float], None]) -> None:
    """Run the roles in this thread until unwanted; `wait` sleeps at most so long, or until woken."""
    while is_wanted():
        now = clock.monotonic_s()
        for role in roles:
            if role.due_s <= now:
                _run(role)
        nearest = min(role.due_s for role in roles) - clock.monotonic_s()
        if nearest > 0:
            wait(min(nearest, _NAP_S))


def _run(role: Role) -> None:
    try:
        failpoints.hit("role.", role.name)
        role.step()
    except UnavailableError as error:
        role.failures += 1
        role.due_s = clock.monotonic_s() + min(reconnect_delay_s(role.failures), max(role.every_s, 1.0))
        if role.failures == 1:
            log.warning("maintenance.waits", extra={"role": role.name, "text": str(error)})
        return
    except TaskhubError:
        role.failures += 1
        role.due_s = clock.monotonic_s() + reconnect_delay_s(role.failures, 1.0, 30.0)
        log.exception("maintenance.failed", extra={"role": role.name})
        return
    if role.failures:
        log.info("maintenance.resumes", extra={"role": role.name})
    role.failures = 0
    role.due_s = clock.monotonic_s() + role.every_s * random.uniform(0.9, 1.1)  # noqa: S311 (spreads the workers)
