"""Notice at once when a handler changes something of its whole process: the standard library's setters say so.

A look at everything costs microseconds, a look at this flag nothing: so even jobs of a few microseconds
are cleaned up after. What changes such things without these functions (an extension in C) is found by the
look at everything that comes after longer jobs, and after each batch.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Touched:
    """Set by every wrapped setter; whoever has cleaned up takes it back."""

    __slots__ = ("is_set", "seed")

    def __init__(self) -> None:
        self.is_set = False
        self.seed = False


TOUCHED = _Touched()

_SETTERS: dict[ModuleType, tuple[str, ...]] = {
    signal: ("alarm", "setitimer", "signal", "siginterrupt", "pthread_sigmask", "set_wakeup_fd"),
    os: (
        *(
            "chdir",
            "fchdir",
            "umask",
            "nice",
            "setpriority",
            "sched_setaffinity",
            "putenv",
            "unsetenv",
            "close",
            "dup2",
        ),
        *("closerange", "setuid", "setgid", "setresuid", "setresgid", "seteuid", "setegid", "setpgid", "setsid"),
    ),
    resource: ("setrlimit", "prlimit"),
    sys: ("settrace", "setprofile", "setrecursionlimit", "setswitchinterval", "set_int_max_str_digits"),
    gc: ("disable", "enable", "set_threshold"),
    socket: ("setdefaulttimeout",),
    logging: ("disable",),
    locale: ("setlocale",),
    warnings: ("simplefilter", "filterwarnings", "resetwarnings"),
    threading: ("stack_size",),
    faulthandler: ("dump_traceback_later", "register", "unregister"),
    random: ("seed", "setstate"),
}


def watch_setters() -> None:
    """Wrap them, once; before the modules of handlers are imported, which may take a function's name with them."""
    for module, names in _SETTERS.items():
        for name in names:
            function = getattr(module, name, None)
            if function is not None and not hasattr(function, "_sets"):
                setattr(module, name, _noticed(function, is_seed=module is random))


def _noticed(function: Callable[..., Any], *, is_seed: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def setter(*arguments: Any, **named: Any) -> Any:
        TOUCHED.is_set = True
        if is_seed:
            TOUCHED.seed = True
        return function(*arguments, **named)

    setter._sets = True  # type: ignore[attr-defined]
    return setter
