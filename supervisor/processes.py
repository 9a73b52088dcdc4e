"""The only place where the supervisor forks, executes, waits for, looks at or kills a process.

Nothing here can block: every wait has WNOHANG, and what is read always answers. What fails for want of
descriptors, memory or processes raises OSError: the loop leaves that step out and tries it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from supervisor.leftovers import descendants
from supervisor.signals import Signals, block_all, signal_name, take_signals_in_child

FAILED = 1  # exit status: the function raised
SHORTAGE = 75  # exit status: it raised for want of descriptors, memory or processes; try again later
UNKNOWN = 1 << 16  # wait status of a child that somebody else has reaped
_ORPHAN = 72  # exit status: the parent was gone before this process could tie itself to it
_PR_SET_PDEATHSIG = 1
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT)
_PRIVATE_FROM = 100  # as the log's own descriptor: out of the way of code that closes low ones by number

_libc = ctypes.CDLL(None, use_errno=True)


class Ended(NamedTuple):
    """How a child ended."""

    status: int
    peak_rss_kib: int


def spawn(run: Callable[[], int], signals: Signals) -> int:
    """Fork; the child runs `run` and exits with its result. Returns the child's pid. Raises OSError if fork fails.

    Must be called by the main thread: the child is bound to the life of the thread that forked it.
    """
    parent = os.getpid()
    before = block_all()
    try:
        pid = os.fork()
        if pid == 0:
            _become_child(run, parent, signals, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become_child(run: Callable[[], int], parent: int, signals: Signals, mask: Collection[int]) -> None:
    """Never returns: whatever happens, this process must not go on as a second supervisor."""
    status = FAILED
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_ORPHAN)
        os.setpgid(0, 0)
        signals.hand_to_child()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=False)
        status = run()
    except BaseException as error:  # noqa: BLE001 (the last frame of this process)
        status = SHORTAGE if is_shortage(error) else FAILED
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def restore_child_state() -> None:
    """After code that is not ours, in a child: signals, timers and the standard descriptors as a child has them."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    take_signals_in_child()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=False)
    fill_standard_descriptors()


def fill_standard_descriptors() -> None:
    """Let none of 0, 1 and 2 be free: whatever was opened next would get its number, and what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:  # as Python leaves it if there was no descriptor at its start
            setattr(sys, name, os.fdopen(number, mode, closefd=False, encoding="utf-8", errors="backslashreplace"))


@contextlib.contextmanager
def discarding_output() -> Iterator[None]:
    """What is printed meanwhile goes nowhere, and nothing of it is left for every child to print again."""
    kept: list[tuple[int, int]] = []
    try:
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # no descriptors: it is heard
            for number in (1, 2):
                kept.append((number, fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _PRIVATE_FROM)))
                os.dup2(nowhere.fileno(), number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


def execute(command: Sequence[str], output: int, kept: int) -> int:
    """In a forked child: become this program, its output into one descriptor, another one kept open for it."""
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.set_inheritable(kept, True)
    os.execv(command[0], list(command))  # noqa: S606


def reexecute(environment: Mapping[str, str], kept: Iterable[int], signals: Signals) -> None:
    """Execute this very program again in this process, with these descriptors, and this in its environment.

    Raises OSError if that fails, with all as it was.
    """
    descriptors = list(kept)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    os.environ.update(environment)
    signals.hold_for_next_program()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    finally:  # reached only if that failed
        signals.install()
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        for name in environment:
            del os.environ[name]


def is_shortage(error: BaseException | None) -> bool:
    """True if this, or what it came from, is a lack of descriptors, memory, processes or room: it may pass."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def reap(pid: int) -> Ended | None:
    """How a child of this process ended; None while it lives."""
    try:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return Ended(UNKNOWN, 0)
    return Ended(status, usage.ru_maxrss) if ended else None


def cause(status: int) -> str:
    """A wait status as it is recorded: `signal:NAME`, `exit:STATUS`, or `unknown`."""
    if status == UNKNOWN:
        return "unknown"
    if os.WIFSIGNALED(status):
        return f"signal:{signal_name(os.WTERMSIG(status))}"
    return f"exit:{os.WEXITSTATUS(status)}"


def rss_mb(pid: int) -> float:
    """Resident memory of a process now; 0 if it is gone. Raises OSError without descriptors."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1048576
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0


def is_stopped(pid: int) -> bool:
    """True if a child of this process stands still with all its threads, or is gone. Needs no descriptor."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def send(pid: int, number: int) -> None:
    """A signal to a child that is not reaped yet; one that has become somebody else's cannot be reached."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL a child that is not reaped yet, and everything it has started, in its group or below it."""
    below = descendants(pid)
    kill_leftovers(pid)
    for each in (pid, *below):  # the child may have left its group, or not made it yet
        send(each, signal.SIGKILL)


def kill_leftovers(pid: int) -> None:
    """SIGKILL what is left of a child's group; also right after the child was reaped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def reap_orphans(own: Collection[int | None]) -> None:
    """Reap what nobody here waits for: orphans that end at PID 1, and what was given up. `own` are reaped elsewhere."""
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in own:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
