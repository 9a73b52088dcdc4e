"""Signals as a queue: a handler appends and wakes, the loop decides."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
from collections import deque
from types import FrameType

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


class Signals:
    """Installed once, in the supervisor's main thread, before anything slow: none is lost, none kills."""

    def __init__(self) -> None:
        self._queue: deque[int] = deque()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def install(self) -> None:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)  # blocked if a re-execution brought us here

    def wait(self, timeout_s: float) -> list[int]:
        """Sleep at most so long, or until a signal comes; returns those that came, oldest first."""
        if not self._queue:
            ready, _, _ = select.select([self._read], [], [], timeout_s)
            if ready:
                os.read(self._read, 4096)
        came = []
        while self._queue:
            came.append(self._queue.popleft())
        return came

    def is_stop_wanted(self) -> bool:
        """True if one that stops has come; for a start that takes long. It stays in the queue."""
        return any(number in STOPPING for number in self._queue)

    def keep_for_next_program(self) -> None:
        """Call last before this process executes another program, whose `install` then receives what came meanwhile.

        Blocked signals stay pending over an exec; those that are in the queue already are raised again.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        while self._queue:
            os.kill(os.getpid(), self._queue.popleft())

    def leave_to_child(self) -> None:
        """In a forked child: none of this is its own. Signals sent to the whole group mean nothing to it."""
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            # A function and not SIG_IGN: programs that a handler starts must not inherit deafness.
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else _ignore)
        os.close(self._read)
        os.close(self._write)
        os.register_at_fork(after_in_child=_leave_to_stranger)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._queue.append(number)


def _leave_to_stranger() -> None:
    """In what a handler forks: an ordinary process, which those signals end as they end any other."""
    faulthandler.unregister(signal.SIGUSR1)
    for number in HANDLED:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    return None


def signal_name(number: int) -> str:
    """A signal as people say it; real-time signals have numbers only.

    >>> signal_name(9), signal_name(40)
    ('SIGKILL', 'SIGRTMIN+6')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
