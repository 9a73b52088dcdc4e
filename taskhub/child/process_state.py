"""What a process has once, and any code in it can change: how it is read, and made as it was.

Invariant: a thing is read by calls that change nothing and allocate little; what cannot be read is only set.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_c: Any = importlib.import_module("_signal")  # `signal` makes enumerations of its answers, which takes 20 times as long
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
_GONE = "(gone)"
_STREAMS = ("stdin", "stdout", "stderr")
_DUMP = signal.SIGUSR1  # the supervisor's word for: print your stacks


class Thing(NamedTuple):
    """Something that a process has once. `restore` gets what `read` found when the child began."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    is_noticed: bool = False  # nothing but the noticed setters changes it: else there is no need to look


def things(descriptors: list[int | None], cwd: int) -> list[Thing]:
    """All of them; `descriptors` are copies of the standard ones, `cwd` one of the folder to come back to."""
    return [
        Thing("standard descriptors", _standard_descriptors, partial(_reopen, descriptors)),
        Thing("standard streams", _streams, _restream),
        Thing("signal mask", lambda: _c.pthread_sigmask(signal.SIG_BLOCK, ()), _set_mask),
        Thing("signal handlers", lambda: list(map(_c.getsignal, _SIGNALS)), _set_handlers),
        Thing("working directory", _folder(cwd), lambda _: os.fchdir(cwd)),
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


def stop_timers() -> None:
    """Before signal handlers are made as they were: what rings after that would end the process."""
    for which in _TIMERS:
        _c.setitimer(which, 0)


def set_blindly(wakeup: int, umask: int) -> None:
    """What cannot be read without setting it."""
    _c.set_wakeup_fd(wakeup)
    os.umask(umask)
    faulthandler.cancel_dump_traceback_later()


def _reopen(descriptors: list[int | None], found: list[tuple[int, int] | None]) -> None:
    for number, copy in enumerate(descriptors):
        if copy is not None:
            os.dup2(copy, number)
        elif found[number] is None and _identity(number) is not None:
            os.close(number)


def copied(number: int) -> int | None:
    """A copy of a descriptor; None if it is closed."""
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


def open_cwd() -> int:
    """A descriptor of the working directory."""
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it was removed: any other is as good
        return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _folder(cwd: int) -> Callable[[], str]:
    """How to read the working directory: by its name, and where that is another, by what it is.

    Others may rename or remove it: that is nothing that a job has done.
    """
    home = _cwd()

    def read() -> str:
        name = _cwd()
        if name == home != _GONE:
            return name
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat("."), os.fstat(cwd)):
                return home
        return name if name != home else "elsewhere"

    return read


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return _GONE


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
