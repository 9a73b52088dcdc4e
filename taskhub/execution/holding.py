"""What one child holds at a moment: the jobs that it has claimed and not begun, the outcomes not settled yet."""

from __future__ import annotations

from collections import deque

from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Outcome


class Holding:
    """One batch under one lease.

    `pending` and `finished` are deques because two threads use them: the main thread takes from the left of
    `pending`, the relief thread from its right, each with one atomic step, so a job is only ever one's.
    """

    def __init__(self) -> None:
        self.queue = ""
        self.lease: str | None = None
        self.token = bytes(16)
        self.jobs: dict[str, ClaimedJob] = {}
        self.pending: deque[ClaimedJob] = deque()
        self.finished: deque[Outcome] = deque()

    def take_over(self, queue: str, lease: str | None, jobs: list[ClaimedJob]) -> None:
        """A new claim; everything of the last one is settled or given back."""
        self.queue = queue
        self.lease = lease
        self.token = raw_id(lease) if lease else bytes(16)
        self.jobs = {job.id: job for job in jobs}
        self.pending.extend(jobs)

    def drain_finished(self) -> list[Outcome]:
        """Take all outcomes, in order."""
        drained = []
        while self.finished:
            drained.append(self.finished.popleft())
        return drained

    def put_back(self, outcomes: list[Outcome]) -> None:
        """Return outcomes whose settlement did not succeed."""
        self.finished.extendleft(reversed(outcomes))

    def drain_pending(self) -> list[ClaimedJob]:
        """Take all jobs that have not begun, the last first."""
        drained = []
        while self.pending:
            try:
                drained.append(self.pending.pop())
            except IndexError:  # the other thread took the last
                break
        return drained


def split(outcomes: list[Outcome]) -> tuple[list[Completed], list[Failed]]:
    """Outcomes by how they are settled."""
    completed = [outcome for outcome in outcomes if isinstance(outcome, Completed)]
    return completed, [outcome for outcome in outcomes if isinstance(outcome, Failed)]


def raw_id(job_id: str) -> bytes:
    """The 16 bytes of a UUID."""
    return bytes.fromhex(job_id.replace("-", ""))
