"""Run a function in a forked process, for tests in which it is to die."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

FAILED = 99


def in_fork(function: Callable[[], object]) -> int:
    """Fork, call, wait; returns the exit status, or minus the signal that ended it. Make connections inside."""
    pid = fork(function)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def fork(function: Callable[[], object]) -> int:
    """Fork and call; returns the pid. The caller waits for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test's other threads are of no use to the copy
        pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os._exit(FAILED)
        os._exit(0)
    return pid


def end(pid: int) -> None:
    """SIGKILL a forked process and reap it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
