"""A process that is started to try something, and thrown away: its words kept, its time bounded.

It is looked at once a turn and never waited for. What it prints is kept to the last few KiB; what it
reports, in a file in memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from supervisor.processes import FAILED, UNKNOWN, cause, kill_group, kill_leftovers, reap
from taskhub.logs import get_logger

log = get_logger("supervisor")

REPORT_BYTES = 2**20  # sparse
_KEPT_BYTES = 4096
_READ_BYTES = 64 * 1024
_READS = 16  # in one turn
_REASON_CHARACTERS = 500
_SAID_CHARACTERS = 3000


@contextlib.contextmanager
def in_memory(content: bytes) -> Iterator[int]:
    """A descriptor of a file in memory. Raises OSError if there is none to be had."""
    descriptor = os.memfd_create("content")
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


class Verdict(NamedTuple):
    """How a trial ended. reason: empty if it did well. report: what it wrote into its file. said: what it printed."""

    reason: str
    report: bytes
    said: str = ""

    def tell(self) -> None:
        """What it printed, the end of it, as one line of the log."""
        if self.said:
            log.info("handlers.output", extra={"text": self.said})


class Trial:
    """One attempt; once stopped, or once there is a verdict, it is over and may not be asked again.

    `start(output, report)` forks it with these descriptors and returns its pid.

    Raises OSError if it cannot be started: then nothing of it is left.
    """

    def __init__(self, start: Callable[[int, int], int], limit_s: float, now_s: float, *, wanted: int) -> None:
        self._wanted = wanted
        self._limit_s = limit_s
        self._until_s = now_s + limit_s
        self._kept = b""
        self._is_late = False
        with contextlib.ExitStack() as opened:
            self._report = os.memfd_create("report")
            opened.callback(os.close, self._report)
            os.ftruncate(self._report, REPORT_BYTES)
            self._output, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            opened.callback(os.close, self._output)
            try:
                os.set_blocking(output, True)
                self.pid = start(output, self._report)
            finally:
                os.close(output)
            opened.pop_all()

    def verdict(self, now_s: float) -> Verdict | None:
        """None while it goes on."""
        self._read()
        ended = reap(self.pid)
        if ended is None and now_s < self._until_s:
            return None
        if ended is None:
            kill_group(self.pid)
            if not self._is_late:  # its end is seen in a later turn; if that does not come either, it is left
                self._is_late, self._until_s = True, now_s + 1.0
                return None
        kill_leftovers(self.pid)
        self._read()
        report = os.pread(self._report, REPORT_BYTES, 0).rstrip(b"\0")
        self.close()
        said = self._kept.decode("utf-8", "replace").strip()
        return Verdict(self._reason(ended.status if ended else UNKNOWN, report), report, said[-_SAID_CHARACTERS:])

    def doing(self) -> str:
        """What it is at, by its report; empty if it does not say."""
        return _last_words(os.pread(self._report, REPORT_BYTES, 0).rstrip(b"\0"))

    def stop(self) -> None:
        """Nobody wants to know any more."""
        kill_group(self.pid)
        reap(self.pid)
        self.close()

    def close(self) -> None:
        os.close(self._report)
        os.close(self._output)

    def _reason(self, status: int, report: bytes) -> str:
        """One line: what it was doing, by its report, or what it said; the end of that if it is long."""
        if status == self._wanted << 8 and not self._is_late:
            return ""
        doing = _last_words(report)
        said = " ".join(self._kept.decode("utf-8", "replace").split())[-_REASON_CHARACTERS:]
        if self._is_late:
            end = f"the trial took longer than {self._limit_s:.0f} s"
        elif doing and status == FAILED << 8:
            end = ""
        else:
            end = f"it ended with {cause(status)}" if doing or not said else said
        return ": ".join(filter(None, (doing, end)))

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_READS):
                data = os.read(self._output, _READ_BYTES)
                if not data:
                    return
                self._kept = (self._kept + data)[-_KEPT_BYTES:]


def _last_words(report: bytes) -> str:
    return report.decode("utf-8", "replace").rpartition("\n")[2][-_REASON_CHARACTERS:]
