"""What comes of asking for a batch, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskhub.domain.job import ClaimedJob


class Jobs(NamedTuple):
    """A batch, in the order to run it, under its lease; it brings no job if all the ids were stale.

    settled: how many of the finished jobs were still this child's. withheld: ids that were claimed as well, but whose
    payloads would have made the batch too large.
    """

    queue: str
    lease: str
    jobs: list[ClaimedJob]
    settled: int = 0
    withheld: Sequence[str] = ()


class Paused(NamedTuple):
    """An operator has paused the queue; what was finished is settled."""

    settled: int


class Refused(NamedTuple):
    """PostgreSQL refuses it, perhaps for what is finished. Nothing happened; the ids are still to be claimed."""

    text: str


class NothingClaimed(NamedTuple):
    """Nothing was claimed, and nothing settled: nothing waits, its queue pauses, or what is finished comes first."""


ClaimResult = Jobs | Paused | Refused | NothingClaimed
