"""A process that is ended by a thread which an earlier job has left in it: that is not the present job's fault.

Invariants:
- It costs a job nothing: a thread remembers at its start which job it is of; whoever ends the process is asked.
- The main thread, threads of the present job and those of modules are no excuse: what they do is charged as ever.
- Seen are Python's ways out (`os._exit`, `os.abort`, another program in its place, a signal to oneself or to all of
  one's group), not a crash in C.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from taskhub.child.link import SupervisorLink

_BEGUN_BY = "_taskhub_begun_by"
_WAYS_OUT: dict[ModuleType, tuple[str, ...]] = {
    os: ("_exit", "abort", "execv", "execve"),
    signal: ("raise_signal", "pthread_kill"),
}


class _Child:
    """The child that this process is, once it is one; its forks are none."""

    __slots__ = ("link", "pid")

    def __init__(self) -> None:
        self.link: SupervisorLink | None = None
        self.pid = 0


_CHILD = _Child()


def watch_exits() -> None:
    """Wrap the ways out, once; before the modules of handlers are imported, which may take a name with them."""
    if hasattr(threading.Thread.start, "__wrapped__"):
        return
    setattr(threading.Thread, "start", _remembering(threading.Thread.start))  # noqa: B010 (mypy: a method)
    for module, names in _WAYS_OUT.items():
        for name in names:
            setattr(module, name, _telling(getattr(module, name)))
    os.kill = _telling(os.kill, lambda pid, *_: pid in (os.getpid(), 0, -1, -os.getpgrp()))
    os.killpg = _telling(os.killpg, lambda group, *_: group in (0, os.getpgrp()))


def tell_exits(link: SupervisorLink) -> None:
    """From here on this process is the child of this record."""
    _CHILD.link = link
    _CHILD.pid = os.getpid()


def _remembering(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def begin(thread: threading.Thread) -> None:
        thread.__dict__[_BEGUN_BY] = _job_of_this_thread()
        start(thread)

    return begin


def _telling(function: Callable[..., Any], is_meant: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    @functools.wraps(function)
    def leave(*arguments: Any, **named: Any) -> Any:
        with suppress(Exception):
            if is_meant(*arguments):
                _spare_the_present_job()
        return function(*arguments, **named)

    return leave


def _spare_the_present_job() -> None:
    link = _CHILD.link
    if link is not None and _CHILD.pid == os.getpid():
        present, own = link.present_task(), _job_of_this_thread()
        if own and present and own != present:
            link.spare_task()


def _job_of_this_thread() -> bytes:
    """The id of the job that this thread runs, or was begun by; empty if it is of none."""
    if _CHILD.link is None:
        return b""
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return _CHILD.link.present_task()
    own: bytes = thread.__dict__.get(_BEGUN_BY, b"")
    return own
