"""Fork one process that runs a function and nothing else of its parent, and dies with it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection

from supervisor.signals import HANDLED, Signals

FAILED = 1  # exit status: the function raised
_ORPHAN = 72  # exit status: the parent was gone before this process could tie itself to it
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def spawn(run: Callable[[], int], signals: Signals) -> int:
    """Fork; the child runs `run` and exits with its result. Returns the child's pid. Raises OSError if fork fails.

    Must be called by the main thread: the child is bound to the life of the thread that forked it.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork()
        if pid == 0:
            _become_child(run, parent, signals, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become_child(run: Callable[[], int], parent: int, signals: Signals, mask: set[int | signal.Signals]) -> None:
    """Never returns: whatever happens, this process must not go on as a second supervisor."""
    status = FAILED
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_ORPHAN)
        os.setpgid(0, 0)
        signals.leave_to_child()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
        status = run()
    except BaseException:  # noqa: BLE001 (the last frame of this process)
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def rss_mb(pid: int) -> float:
    """Resident memory of a process now; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1048576
    except (OSError, IndexError):
        return 0.0


def is_stopped(pid: int) -> bool:
    """True if the process is stopped, or gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in ("T", "t", "Z", "X")
    except (OSError, IndexError):
        return True


def kill_group(pid: int) -> None:
    """SIGKILL a child that is not reaped yet, and everything it has started in its group."""
    kill_leftovers(pid)
    with contextlib.suppress(ProcessLookupError):  # it may have left its group, or not made it yet
        os.kill(pid, signal.SIGKILL)


def kill_leftovers(pid: int) -> None:
    """SIGKILL what is left of a child's group; also right after the child was reaped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def reap_strangers(own: Collection[int | None]) -> None:
    """As PID 1, orphans of others end here; they are no children of ours. `own` are reaped where they are known."""
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in own:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
