"""What a claim brings, as a value; and how it is read from the rows that PostgreSQL answers with."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from taskhub.domain.errors import TaskhubError
from taskhub.domain.job import ClaimedJob
from taskhub.store.connection import Row

MAX_BATCH_BYTES = 8 * 1024 * 1024  # of payloads; the last may reach beyond

_PAYLOAD = attrgetter("payload")


class SlotClosedError(TaskhubError):
    """This generation of the slot was closed by a rescuer: whatever it holds is no longer its own."""

    code = "slot_closed"


class Claim(NamedTuple):
    """A batch in the order to run it, its lease, and how many of the settled jobs were still this child's.

    `is_empty`: nothing waited. Without it a batch may still bring no job, if all its ids were stale.
    `withheld`: ids that were claimed as well, but whose payloads would have made the batch too large.
    """

    queue: str
    lease: str | None
    jobs: list[ClaimedJob]
    settled: int
    is_empty: bool = False
    withheld: Sequence[str] = ()


class Header(NamedTuple):
    """The first row of an answer: how many jobs were settled, and whether the queue is paused."""

    settled: int
    is_paused: bool


def header_of(row: Row) -> Header:
    """Raises SlotClosedError."""
    _, _, settled, is_open, is_paused, *_ = row
    if not is_open:
        raise SlotClosedError("this slot was closed by a rescuer")
    return Header(int(settled), bool(is_paused))


def claim_of(queue: str, lease: str, jobs: list[ClaimedJob], settled: int) -> Claim:
    """Jobs that came without their payload are withheld."""
    if None not in map(_PAYLOAD, jobs):
        return Claim(queue, lease, jobs, settled)
    kept = [job for job in jobs if job.payload is not None]
    return Claim(queue, lease, kept, settled, withheld=[job.id for job in jobs if job.payload is None])
