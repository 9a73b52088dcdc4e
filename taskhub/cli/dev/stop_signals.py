"""SIGINT, SIGTERM and SIGHUP counted, for a loop that decides; SIGCHLD only ends its sleep."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType


class Stopping(Exception):
    """Somebody asked to stop while something else was under way."""


class StopSignals:
    """Counts requests to stop; made once, in the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._awake, wakeup = socket.socketpair()
        for end in (self._awake, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than to the next signal."""
        if select.select([self._awake], [], [], seconds)[0]:
            self._awake.recv(4096)

    def check(self) -> None:
        """Raise Stopping if a stop was asked for."""
        if self.count:
            raise Stopping

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
