"""What one child holds at a moment: the jobs that it has claimed and not begun, the outcomes not settled yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Committed, Completed, Failed, Outcome

_Thing = TypeVar("_Thing")


class Batch:
    """One batch under one lease.

    All that two threads use are deques: the main thread takes from the left of `pending`, the helper thread from
    its right, each with one atomic step, so a job is only ever one's. Outcomes lie apart by how they are settled:
    what is completed travels with the next claim.
    """

    def __init__(self) -> None:
        self.queue = ""
        self.lease: str | None = None
        self.token = bytes(16)
        self.jobs: dict[str, ClaimedJob] = {}
        self.pending: deque[ClaimedJob] = deque()
        self.withheld: deque[str] = deque()  # claimed, but too large to hold beside the others: to be released
        self.completed: deque[Completed] = deque()
        self.others: deque[Failed | Committed] = deque()

    def take_over(self, queue: str, lease: str, jobs: list[ClaimedJob], withheld: Sequence[str] = ()) -> None:
        """A new claim; everything of the last one is settled or released."""
        self.queue = queue
        self.lease = lease
        self.token = raw_id(lease)
        self.jobs = {job.id: job for job in jobs}
        self.pending.extend(jobs)
        self.withheld.extend(withheld)

    def keep(self, outcome: Outcome) -> None:
        """A job is over; this is to be settled."""
        if isinstance(outcome, Completed):
            self.completed.append(outcome)
        else:
            self.others.append(outcome)

    @property
    def is_unsettled(self) -> bool:
        """Something is over and not settled."""
        return bool(self.completed or self.others)

    @property
    def is_held(self) -> bool:
        """Something is not begun, not settled, or not released."""
        return bool(self.pending or self.is_unsettled or self.withheld)

    def forget(self) -> None:
        """Let go of payloads, once nothing is held any more."""
        if not (self.pending or self.is_unsettled):
            self.jobs = {}


@contextmanager
def using_up(things: deque[_Thing], wanted: Callable[[_Thing], bool] | None = None) -> Iterator[list[_Thing]]:
    """All of a batch's things of one kind (that are wanted), for the block to use up.

    What it leaves in the list is put back, all if it fails. They are taken from the right: see `Batch`.
    """
    kept: deque[_Thing] = deque()
    try:
        while things:
            try:
                kept.appendleft(things.pop())
            except IndexError:  # the other thread took the last
                break
        if wanted is not None:
            things.extendleft(reversed([thing for thing in kept if not wanted(thing)]))
            kept = deque(filter(wanted, kept))
        block = list(kept)
        yield block
        kept = deque(block)
    finally:
        things.extendleft(reversed(kept))


def raw_id(job_id: str) -> bytes:
    """The 16 bytes of a UUID."""
    return bytes.fromhex(job_id.replace("-", ""))
