"""Signals as a queue: a handler appends and wakes, the loop decides.

No signal ends one of our processes in silence but those that cannot be caught (KILL, STOP) and those that
say that the program itself is broken (SEGV and its kind).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import platform
import select
import signal
from collections import deque
from collections.abc import Collection, Iterator
from types import FrameType

from taskhub.logs import get_logger

log = get_logger(__name__)

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGUSR1,
    signal.SIGCHLD,
)
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_SIGSTKFLT = 16  # which the signal module does not know before Python 3.11

# Nothing is meant by these, and by default each of them ends the process.
STRAY = (
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    signal.SIGXCPU,
    _SIGSTKFLT,
)
REAL_TIME = tuple(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
IGNORED = (*STRAY, *REAL_TIME)
_CAUGHT = (*HANDLED, *IGNORED)
_logged: set[int] = set()  # by this process
_OF_THE_C_LIBRARY = (32, 33)  # which takes them only in programs that need them, and lets nobody else have them
_SIGACTION = {"x86_64": 13, "aarch64": 134}.get(platform.machine())


def block_all() -> set[int | signal.Signals]:
    """Hold all that is caught back; returns the mask before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)


def signal_name(number: int) -> str:
    """The name of any signal; those without one of their own are counted from SIGRTMIN, as `kill -l` does.

    >>> signal_name(9), signal_name(signal.SIGRTMIN + 6), signal_name(33)
    ('SIGKILL', 'SIGRTMIN+6', '33')
    """
    try:
        return "SIGSTKFLT" if number == _SIGSTKFLT else signal.Signals(number).name
    except ValueError:
        above = number - signal.SIGRTMIN
        return f"SIGRTMIN+{above}" if above >= 0 else str(number)


class Interrupted(BaseException):
    """Code that is not ours was ended, by a stop or because its time was over."""


class Signals:
    """Installed once, in the supervisor's main thread, before anything slow: none is lost, none kills."""

    def __init__(self) -> None:
        self._queue: deque[int] = deque()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._interrupts = False

    def install(self) -> None:
        """Take every signal; again after code that is not ours may have changed that."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _CAUGHT:
            signal.signal(number, self._enqueue)
        _ignore_of_the_c_library()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _CAUGHT)  # blocked if a re-execution brought us here

    def wait(self, timeout_s: float) -> list[int]:
        """Sleep at most so long, or until a signal comes; returns those that came, oldest first."""
        if not self._queue:
            self._sleep(timeout_s)
        came = []
        while self._queue:
            came.append(self._queue.popleft())
        return came

    def sleep(self, timeout_s: float) -> None:
        """Sleep at most so long, or until a signal comes, which stays in the queue."""
        if not self.is_stop_wanted():
            self._sleep(timeout_s)

    @contextlib.contextmanager
    def interrupting(self, limit_s: float) -> Iterator[None]:
        """Run code that is not ours: a stop, or the end of its time, raises Interrupted in it."""
        self._interrupts = True
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            self._interrupts = False
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            self.install()

    def is_stop_wanted(self) -> bool:
        """True if one that stops has come; for a start that takes long. It stays in the queue."""
        return any(number in STOPPING for number in tuple(self._queue))  # a handler may append meanwhile

    def hold_for_next_program(self) -> None:
        """Call last before this process executes another program, whose `install` then receives what came meanwhile.

        Blocked signals stay pending over an exec; those that are in the queue already are raised again.
        """
        block_all()
        while self._queue:
            os.kill(os.getpid(), self._queue.popleft())

    def hand_to_child(self) -> None:
        """In a forked child: none of this is its own. Signals sent to the whole group mean nothing to it."""
        signal.set_wakeup_fd(-1)
        take_signals_in_child()
        os.close(self._read)
        os.close(self._write)
        os.register_at_fork(after_in_child=_reset_in_grandchild)

    def _sleep(self, timeout_s: float) -> None:
        try:
            ready, _, _ = select.select([self._read], [], [], timeout_s)
            if ready:
                os.read(self._read, 4096)
        except (OSError, ValueError):  # not ours any more: without it, a signal is seen a turn later
            select.select([], [], [], timeout_s)

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        self._queue.append(number)
        if self._interrupts and number in (*STOPPING, signal.SIGALRM):
            self._interrupts = False
            raise Interrupted


def _reset_in_grandchild() -> None:
    """In what a handler forks: an ordinary process, which those signals end as they end any other."""
    faulthandler.unregister(signal.SIGUSR1)
    for number in _CAUGHT:
        if signal.getsignal(number) in (_ignore, _on_ignored):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def take_signals_in_child() -> None:
    """What is not meant for a child neither ends it nor what it runs.

    Real-time signals stay deadly: only somebody who means this very process sends one, and its end is told.
    """
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else _ignore)
    for real_time in REAL_TIME:
        signal.signal(real_time, signal.SIG_DFL)
    log_once(STRAY)


def log_once(numbers: Collection[int]) -> None:
    """Outlive these signals, and say so at the first of each.

    By a function and not SIG_IGN: programs that a handler starts must not inherit deafness.
    """
    for number in numbers:
        signal.signal(number, _on_ignored)


def log_ignored(number: int) -> None:
    """That a signal came which nobody acts on."""
    fields = {"signal": signal_name(number), "pid": os.getpid(), "text": "ignored: nothing is meant by this signal"}
    log.warning("signal.ignored", extra=fields)


def _on_ignored(number: int, _frame: FrameType | None) -> None:
    if number not in _logged:
        _logged.add(number)
        log_ignored(number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    return None


def _ignore_of_the_c_library() -> None:
    """By a system call of our own, since the library's refuses. Programs started from here take them as they need."""
    if _SIGACTION is None:
        return
    action = (ctypes.c_ulong * 4)(int(signal.SIG_IGN))
    for number in _OF_THE_C_LIBRARY:
        ctypes.CDLL(None).syscall(_SIGACTION, number, ctypes.byref(action), None, 8)
