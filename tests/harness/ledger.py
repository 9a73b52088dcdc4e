"""The ledger of executions: an append-only file in which handlers write a line as they start and as they end.

It is the judge of "executed exactly once": no taskhub code writes or reads it. One write per line with
O_APPEND, so lines of several processes never mix, and what a process wrote before SIGKILL stays.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

VARIABLE = "LEDGER_FILE"
_WIDTH = 5


class Entry(NamedTuple):
    """One line: `what` is start, end, error, or a word of a handler's own."""

    what: str
    job: str
    attempt: int
    pid: int
    at_ns: int


def note(what: str, job: str, attempt: int, pid: int | None = None) -> None:
    """Append a line to the ledger that the environment names."""
    fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, f"{what} {job} {attempt} {pid or os.getpid()} {time.monotonic_ns()}\n".encode())
    finally:
        os.close(fd)


class Ledger:
    """A test's view of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def entries(self, what: str | None = None) -> list[Entry]:
        """What was written, in order; only lines of one kind if `what` is given."""
        parts = [line.split() for line in self.path.read_text().splitlines()]
        found = [Entry(p[0], p[1], int(p[2]), int(p[3]), int(p[4])) for p in parts if len(p) == _WIDTH]
        return [entry for entry in found if what in (None, entry.what)]

    def executions(self) -> Counter[str]:
        """How often each job was started."""
        return Counter(entry.job for entry in self.entries("start"))

    def starts(self) -> int:
        """How many executions there were."""
        return self.path.read_bytes().count(b"start ")

    def of(self, job: str) -> list[Entry]:
        """Everything about one job."""
        return [entry for entry in self.entries() if entry.job == job]
