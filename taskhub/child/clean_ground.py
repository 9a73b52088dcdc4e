"""What one job does to its whole process does not meet the next: it is undone, or the child is replaced first.

Invariants:
- After a job that has called one of the noticed setters, after every job of more than a millisecond and
  after every batch, everything below is as it was when the child began.
- What cannot be made so again (`spoilt` says what) ends the child, in order, before its next job.
- Left alone: threads, sub-processes, modules and their globals, which people keep on purpose; but not what
  `borrowed` names.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from taskhub.child.borrowed import Borrowed
from taskhub.child.setters import TOUCHED
from taskhub.logs import get_logger

log = get_logger(__name__)

LONG_JOB_S = 0.001
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_c: Any = importlib.import_module("_signal")  # `signal` makes enumerations of its answers, which takes 20 times as long
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
_STREAMS = ("stdin", "stdout", "stderr")
_DUMP = signal.SIGUSR1  # the supervisor's word for: print your stacks


class Thing(NamedTuple):
    """Something that a process has once. `restore` gets what `read` found when the child began."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    is_noticed: bool = False  # nothing but the noticed setters changes it: else there is no need to look


class CleanGround:
    """One child's. `begin` is called in its main thread, once its own signal handlers are in place."""

    def __init__(self) -> None:
        self.spoilt: str | None = None
        self.job_type = ""  # of the last job that ran here
        self._borrowed = Borrowed()
        self._descriptors: list[int | None] = []
        self._cwd = self._wakeup = -1
        self._umask = 0o077
        self._things: list[Thing] = []
        self._found: list[Any] = []

    def begin(self) -> None:
        """As it is now, so it will be for every job."""
        self._borrowed = Borrowed()
        self._descriptors = [_copy(number) for number in range(3)]
        self._cwd = _open_cwd()
        self._wakeup = signal.set_wakeup_fd(-1)
        self._umask = os.umask(self._umask)
        self._things = self._all_things()
        self._found = [thing.read() for thing in self._things]
        self._set_blindly()
        TOUCHED.is_set = TOUCHED.seed = False

    def clean(self) -> None:
        """Make everything as it was when it began."""
        self.put_back()
        for which in _TIMERS:
            _c.setitimer(which, 0)
        is_touched = TOUCHED.is_set
        for thing, found in zip(self._things, self._found, strict=True):
            if (is_touched or not thing.is_noticed) and thing.read() != found:
                self._restore(thing, found)
        self._set_blindly()
        if TOUCHED.seed:
            random.seed()
        TOUCHED.is_set = TOUCHED.seed = False

    def put_back(self) -> None:
        """Before anything else, for nothing of ours works without."""
        if changed := self._borrowed.put_back():
            text = (
                f"a job of type {self.job_type}, or one shortly before it, has replaced {', '.join(changed)}; put back"
            )
            log.warning("ground.put_back", extra={"text": text})

    def _restore(self, thing: Thing, found: Any) -> None:
        try:
            thing.restore(found)
            is_clean = thing.read() == found
        except (OSError, ValueError, locale.Error) as error:
            is_clean = False
            log.debug("ground.unrestored", extra={"text": f"{thing.name}: {error}"})
        if not is_clean:
            self.spoil(f"a job has changed the {thing.name} of its process, which cannot be undone")

    def spoil(self, reason: str) -> None:
        """Nothing more may run in this process; the first reason is told."""
        self.spoilt = self.spoilt or reason

    def _set_blindly(self) -> None:
        """What cannot be read without setting it."""
        _c.set_wakeup_fd(self._wakeup)
        os.umask(self._umask)
        faulthandler.cancel_dump_traceback_later()

    def _all_things(self) -> list[Thing]:
        return [
            Thing("standard descriptors", _standard_descriptors, self._reopen),
            Thing("standard streams", _streams, _restream),
            Thing("signal mask", lambda: _c.pthread_sigmask(signal.SIG_BLOCK, ()), _set_mask),
            Thing("signal handlers", lambda: list(map(_c.getsignal, _SIGNALS)), _set_handlers),
            Thing("working directory", _cwd, lambda _: os.fchdir(self._cwd)),
            Thing("environment", lambda: dict(os.environ), _set_environment, is_noticed=True),
            Thing("resource limits", lambda: list(map(resource.getrlimit, _LIMITS)), _set_limits, is_noticed=True),
            Thing("priority", lambda: os.getpriority(os.PRIO_PROCESS, 0), _set_priority, is_noticed=True),
            Thing("processors", lambda: os.sched_getaffinity(0), _set_processors, is_noticed=True),
            Thing(
                "user or session",
                lambda: (os.getresuid(), os.getresgid(), os.getpgrp(), os.getsid(0)),
                _refuse,
                is_noticed=True,
            ),
            Thing("locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale, is_noticed=True),
            Thing("warning filters", lambda: list(warnings.filters), _set_filters),
            Thing("interpreter", _interpreter, _set_interpreter),
            Thing("exception hooks", lambda: (sys.excepthook, sys.unraisablehook, threading.excepthook), _set_hooks),
        ]

    def _reopen(self, found: list[tuple[int, int] | None]) -> None:
        for number, copy in enumerate(self._descriptors):
            if copy is not None:
                os.dup2(copy, number)
            elif found[number] is None and _identity(number) is not None:
                os.close(number)


def _copy(number: int) -> int | None:
    try:
        return os.dup(number)  # not inherited by programs that a handler starts
    except OSError:
        return None


def _identity(number: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(number)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _standard_descriptors() -> list[tuple[int, int] | None]:
    return [_identity(number) for number in range(3)]


def _streams() -> list[Any]:
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return [(stream, getattr(stream, "closed", False)) for stream in streams]


def _restream(found: list[tuple[Any, bool]]) -> None:
    for name, (stream, _) in zip(_STREAMS, found, strict=True):
        setattr(sys, name, stream)  # one that was closed stays closed: then the child is replaced


def _set_mask(found: set[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, found)


def _set_handlers(found: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, found, strict=True):
        if handler is not None and _c.getsignal(number) is not handler:
            signal.signal(number, handler)
            if number == _DUMP:  # registered below Python's own handlers, where it cannot be read
                faulthandler.unregister(number)
                faulthandler.register(number, file=2, all_threads=True, chain=False)


def _open_cwd() -> int:
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it was removed: any other is as good
        return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_environment(found: dict[str, str]) -> None:
    is_other_zone = os.environ.get("TZ") != found.get("TZ")
    for name in os.environ.keys() - found.keys():
        del os.environ[name]
    os.environ.update(found)
    if is_other_zone:
        time.tzset()


def _set_limits(found: list[tuple[int, int]]) -> None:
    for limit, (soft, hard) in zip(_LIMITS, found, strict=True):
        _, hard_now = resource.getrlimit(limit)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (soft, hard if hard_now != hard else hard_now))


def _set_priority(found: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, found)


def _set_processors(found: set[int]) -> None:
    os.sched_setaffinity(0, found)


def _set_locale(found: str) -> None:
    locale.setlocale(locale.LC_ALL, found)


def _set_filters(found: list[Any]) -> None:
    warnings.filters[:] = found  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _interpreter() -> tuple[Any, ...]:
    return (
        *(sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), sys.getswitchinterval()),
        *(gc.isenabled(), gc.get_threshold(), socket.getdefaulttimeout(), logging.root.manager.disable),
        *(threading.stack_size(), sys.get_int_max_str_digits()),
    )


def _set_interpreter(found: tuple[Any, ...]) -> None:
    trace, profile, depth, interval, collects, thresholds, timeout, level, stack, digits = found
    sys.settrace(trace)
    sys.setprofile(profile)
    sys.setrecursionlimit(depth)
    sys.setswitchinterval(interval)
    (gc.enable if collects else gc.disable)()
    gc.set_threshold(*thresholds)
    socket.setdefaulttimeout(timeout)
    logging.disable(level)
    threading.stack_size(stack)
    sys.set_int_max_str_digits(digits)


def _set_hooks(found: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, threading.excepthook = found


def _refuse(_: Any) -> None:
    """There is no way back."""
