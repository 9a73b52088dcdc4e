"""Named points where a test can make a process die, stop, wait or fail; nothing in production.

`TASKHUB_FAILPOINTS="api.after_commit=kill;worker.after_claim=sleep:0.2*3;clock.wall=value:-600"`
(settings refuse it unless `TASKHUB_ENV=test`). A `*N` limits an action to the first N hits of each process, a `**N` to
those of all: of the process that armed it first, and whatever it forks. `raise:OSError`, `raise:psycopg2.DataError`:
an exception of that class; `hang`: the calling thread stands still for ever.
Every statement has a point `store.NAME`, every script and command of Redis `broker.NAME`, every role `role.NAME`.
While nothing is armed, a point costs one look at an empty dictionary.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import mmap
import os
import signal
import time
from dataclasses import dataclass

ACTIONS = ("kill", "stop", "exit", "sleep", "hang", "raise", "value")


class FailpointError(Exception):
    """Raised by a point armed with `raise`."""


@dataclass
class _Point:
    action: str
    argument: float
    raises: type[BaseException]
    hits_left: memoryview | list[int]  # one number; -1 is for ever


_points: dict[str, _Point] = {}
_shared: dict[
    str, memoryview
] = {}  # hits left of the parts with `**`: a fork that arms them once more finds them again


def arm(specification: str) -> None:
    """Arm the points named in `name=action[:argument][*N|**N];...`; an empty text disarms all.

    Raises ValueError for a part that cannot be read.
    """
    _points.clear()
    if not specification:
        _shared.clear()
    for part in filter(None, specification.split(";")):
        name, separator, rest = part.strip().partition("=")
        rest, limit, times = rest.partition("**" if "**" in rest else "*")
        action, _, argument = rest.partition(":")
        if not separator or action not in ACTIONS:
            raise ValueError(f"failpoint {part!r}: write name=action[:argument][*N|**N], action one of {ACTIONS}")
        raises = _exception_class(argument) if action == "raise" and argument else FailpointError
        number = 0.0 if action == "raise" else float(argument or 0)
        _points[name] = _Point(action, number, raises, _hits(part, limit, int(times or -1)))


def hit(name: str, detail: str = "") -> None:
    """Act if `name + detail` is armed and has hits left; otherwise do nothing."""
    if not _points:
        return
    name += detail
    point = _points.get(name)
    if point is None or point.hits_left[0] == 0 or point.action == "value":
        return
    point.hits_left[0] -= 1
    _act(name, point)


def value(name: str) -> float:
    """The number armed at `name`, or 0."""
    point = _points.get(name)
    return point.argument if point is not None else 0.0


def _hits(part: str, limit: str, times: int) -> memoryview | list[int]:
    if limit != "**":
        return [times]
    if part not in _shared:
        _shared[part] = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        _shared[part][0] = times
    return _shared[part]


def _act(name: str, point: _Point) -> None:
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif point.action == "exit":
        os._exit(int(point.argument))
    elif point.action == "sleep":
        time.sleep(point.argument)
    elif point.action == "hang":
        while True:
            time.sleep(3600.0)
    elif issubclass(point.raises, OSError):
        raise point.raises(errno.EMFILE, os.strerror(errno.EMFILE), name)
    else:
        raise point.raises(name)


def _exception_class(name: str) -> type[BaseException]:
    """A built-in exception by its name, another by its module and name. Raises ValueError if it is none."""
    module, _, simple = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module) if module else builtins, simple)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"failpoint: there is no exception {name!r}") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(f"failpoint: {name!r} is not an exception")
    return found
