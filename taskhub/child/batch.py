"""What one child holds at a moment: the jobs that it has claimed and not begun, the outcomes not settled yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Outcome


class Batch:
    """One batch under one lease.

    `pending` and `finished` are deques because two threads use them: the main thread takes from the left of
    `pending`, the helper thread from its right, each with one atomic step, so a job is only ever one's.
    """

    def __init__(self) -> None:
        self.queue = ""
        self.lease: str | None = None
        self.token = bytes(16)
        self.jobs: dict[str, ClaimedJob] = {}
        self.pending: deque[ClaimedJob] = deque()
        self.withheld: deque[str] = deque()  # claimed, but too large to hold beside the others: to be given back
        self.finished: deque[Outcome] = deque()

    def take_over(self, queue: str, lease: str | None, jobs: list[ClaimedJob], withheld: Sequence[str] = ()) -> None:
        """A new claim; everything of the last one is settled or given back."""
        self.queue = queue
        self.lease = lease
        self.token = raw_id(lease) if lease else bytes(16)
        self.jobs = {job.id: job for job in jobs}
        self.pending.extend(jobs)
        self.withheld.extend(withheld)

    @property
    def is_held(self) -> bool:
        """Something is not begun, not settled, or not given back."""
        return bool(self.pending or self.finished or self.withheld)

    def forget(self) -> None:
        """Let go of payloads, once nothing is held any more."""
        if not (self.pending or self.finished):
            self.jobs = {}

    @contextmanager
    def finished_taken(self) -> Iterator[list[Outcome]]:
        """All outcomes, in order, for the block to settle; what it leaves in the list is kept, all if it fails."""
        taken: list[Outcome] = []
        kept = taken
        try:
            while self.finished:
                taken.append(self.finished.popleft())
            kept = list(taken)
            yield taken
            kept = taken
        finally:
            self.finished.extendleft(reversed(kept))

    @contextmanager
    def pending_taken(self, wanted: Callable[[ClaimedJob], bool] = lambda job: True) -> Iterator[list[ClaimedJob]]:
        """The wanted of the jobs that have not begun, for the block to give back; they are kept if it fails."""
        taken: list[ClaimedJob] = []
        popped: deque[ClaimedJob] = deque()
        try:
            for job in self._popped():
                popped.appendleft(job)
            taken, kept = [job for job in popped if wanted(job)], [job for job in popped if not wanted(job)]
            self.pending.extend(kept)
            popped = deque(taken)
            yield taken
            popped = deque(taken)
        finally:
            self.pending.extend(popped)

    def _popped(self) -> Iterator[ClaimedJob]:
        """From the right, the last first."""
        while self.pending:
            try:
                yield self.pending.pop()
            except IndexError:  # the other thread took the last
                return


def split(outcomes: list[Outcome]) -> tuple[list[Completed], list[Outcome]]:
    """Outcomes by how they are settled: what travels with a claim, and all else."""
    completed = [outcome for outcome in outcomes if isinstance(outcome, Completed)]
    return completed, [outcome for outcome in outcomes if not isinstance(outcome, Completed)]


def raw_id(job_id: str) -> bytes:
    """The 16 bytes of a UUID."""
    return bytes.fromhex(job_id.replace("-", ""))
