"""Named points where a test can make a process die, stop, wait or fail; nothing in production.

`TASKHUB_FAILPOINTS="api.after_commit=kill;worker.after_claim=sleep:0.2*3;clock.wall=value:-600"`
(settings refuse it unless `TASKHUB_ENV=test`). A `*N` limits an action to its first N hits. A point
that nobody armed costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

ACTIONS = ("kill", "stop", "exit", "sleep", "raise", "value")


class FailpointError(Exception):
    """Raised by a point armed with `raise`."""


@dataclass
class _Point:
    action: str
    argument: float
    hits_left: int


_points: dict[str, _Point] = {}


def arm(specification: str) -> None:
    """Arm the points named in `name=action[:argument][*times];...`; an empty text disarms all.

    Raises ValueError for a part that cannot be read.
    """
    _points.clear()
    for part in filter(None, specification.split(";")):
        name, separator, rest = part.strip().partition("=")
        rest, _, times = rest.partition("*")
        action, _, argument = rest.partition(":")
        if not separator or action not in ACTIONS:
            raise ValueError(f"failpoint {part!r}: write name=action[:argument][*times], action one of {ACTIONS}")
        _points[name] = _Point(action, float(argument or 0), int(times or -1))


def hit(name: str) -> None:
    """Act if `name` is armed and has hits left; otherwise do nothing."""
    if not _points:
        return
    point = _points.get(name)
    if point is None or point.hits_left == 0 or point.action == "value":
        return
    point.hits_left -= 1
    _act(name, point)


def value(name: str) -> float:
    """The number armed at `name`, or 0."""
    point = _points.get(name)
    return point.argument if point is not None else 0.0


def _act(name: str, point: _Point) -> None:
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif point.action == "exit":
        os._exit(int(point.argument))
    elif point.action == "sleep":
        time.sleep(point.argument)
    else:
        raise FailpointError(name)
