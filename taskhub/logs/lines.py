"""Whole lines to one descriptor, whatever its reader does: nothing here ever waits for long, or raises OSError.

- The descriptor is private: pipes and terminals are opened again, so that only this process's writing does
  not block and those who share the old one notice nothing; sockets are sent to without waiting; files are
  written to as they are.
- A line is at most PIPE_BUF bytes, so a pipe takes all of it or none. Elsewhere what was written half is
  finished first, and after a failure a line begins with a line's end: no line is glued to another.
- A full reader is waited for once, then lines are dropped until it reads again; the count is told then. A
  process that must never wait says so.
- There is no lock: a signal's handler may write in mid-write, a fork may come, a thread may be gone.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
from collections.abc import Callable

from taskhub import clock

MAX_LINE_BYTES = 4096  # PIPE_BUF of Linux, the end of the line included
_PATIENCE_S = 0.1
_PATIENT_AGAIN_S = 1.0  # after a wait in vain: a reader that is merely slow costs a tenth of the time at most
_PRIVATE_FROM = 100  # out of the way of those who close or reuse low descriptors by number


class LineWriter:
    """One process's way to one descriptor; a forked child goes on with it.

    dropped_line: makes the line that tells how many were dropped. waits: False for a process that must never
    wait; its forked children may.
    """

    def __init__(self, descriptor: int, dropped_line: Callable[[int], bytes], *, waits: bool = True) -> None:
        self._dropped_line = dropped_line
        self._never_waits = 0 if waits else os.getpid()
        self._descriptor, kind = _private(descriptor)
        self._new_line = b"" if kind == stat.S_IFIFO else b"\n"  # a pipe takes a line whole or not at all
        self._socket = socket.socket(fileno=self._descriptor) if kind == stat.S_IFSOCK else None
        self._begin = b""  # of the next write: the rest of a line that is written half, or the end of a torn one
        self._is_stalled = False
        self._patient_at_s = 0.0
        self._untold = 0
        self._uncounted = 0

    def write(self, lines: bytes) -> None:
        """Write whole lines, at most MAX_LINE_BYTES together, or drop them."""
        data, self._begin = self._begin + lines, b""
        try:
            left = self._send(data)
        except BaseException as error:
            self._begin = self._new_line
            if not (isinstance(error, OSError) and error.errno):  # a signal's handler raised in the middle
                raise
            self._drop(lines)
            return
        if not left:
            if self._untold:
                self._tell()
        elif len(left) < len(lines):
            self._begin = left
        else:  # not begun; what was begun before still is
            self._begin = left[: -len(lines)]
            self._drop(lines)

    def take_dropped(self) -> int:
        """How many lines were dropped since the last call."""
        count, self._uncounted = self._uncounted, 0
        return count

    def close(self) -> None:
        """Write nothing any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if self._socket is not None:
            self._socket.close()
        elif descriptor >= 0:
            os.close(descriptor)

    def _send(self, lines: bytes) -> bytes:
        """Write as much as the reader takes; returns what is left. OSError: no reader, no space, no descriptor."""
        has_waited = False
        while lines:
            try:
                if self._socket is not None:
                    sent = self._socket.send(lines, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                else:
                    sent = os.write(self._descriptor, lines)
            except BlockingIOError:
                if has_waited or not self._has_room_soon():
                    return lines
                has_waited = True
            else:
                lines = lines[sent:]
                self._is_stalled = False
        return lines

    def _has_room_soon(self) -> bool:
        """Wait for the reader, a little and not again; never in a process that must not."""
        now_s = clock.monotonic_s()
        if self._is_stalled or now_s < self._patient_at_s or self._never_waits == os.getpid():
            return False
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        if poller.poll(_PATIENCE_S * 1000):
            return True
        self._is_stalled = True
        self._patient_at_s = now_s + _PATIENCE_S + _PATIENT_AGAIN_S
        return False

    def _tell(self) -> None:
        """The reader is back: say what it has missed. That line may be dropped as any other."""
        count, self._untold = self._untold, 0
        self.write(self._dropped_line(count))
        if self._untold:
            self._untold += count

    def _drop(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self._untold += count
        self._uncounted += count


def _private(descriptor: int) -> tuple[int, int]:
    """A descriptor of our own for what this one leads to, and that thing's type; -1 if it leads nowhere."""
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    except OSError:
        return -1, 0
    if kind in (stat.S_IFIFO, stat.S_IFCHR):
        return _reopened(descriptor), kind
    return _duplicate(descriptor), kind


def _reopened(descriptor: int) -> int:
    """The same pipe or terminal under a description of our own, which does not block."""
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:  # another user's (after a change of user), no reader, no /proc: then the old one must not block
        own = _duplicate(descriptor)
        os.set_blocking(own, False)
        return own
    own = _duplicate(opened)
    if own != opened:
        os.close(opened)
    return own


def _duplicate(descriptor: int) -> int:
    """Another number for the same; the old one if there are no more."""
    for lowest in (_PRIVATE_FROM, 3):
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
    return descriptor
