"""How many jobs to claim at once: about a budget's worth of work, by what such jobs took lately.

Batches are sized by time, not by count: a hundred jobs of 10 microseconds are one breath, a hundred of ten
seconds would be hoarding. What is not known yet comes alone.
"""

from __future__ import annotations

_LARGEST = 500
_GROWTH = 8  # a batch is at most this many times the last: one lucky measurement must not hoard
_WEIGHT = 0.3  # of the newest batch in the mean


class Pacing:
    """Recent mean durations by type, and by queue over its present mix of types."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._by_type: dict[str, float] = {}
        self._by_queue: dict[str, float] = {}
        self._last: dict[str, int] = {}

    def want(self, queue: str) -> int:
        """The size of the next batch of a queue."""
        mean_s = self._by_queue.get(queue)
        if mean_s is None:
            return 1
        wanted = int(self._budget_s / max(mean_s, 1e-6))
        return max(1, min(wanted, _LARGEST, self._last.get(queue, 1) * _GROWTH))

    def knows(self, job_type: str) -> bool:
        """True if a job of this type has run in this child."""
        return job_type in self._by_type

    def record(self, queue: str, totals: dict[str, tuple[int, float]]) -> None:
        """A batch has run: per type, how many jobs and how many seconds."""
        count = sum(jobs for jobs, _ in totals.values())
        if not count:
            return
        for job_type, (jobs, seconds) in totals.items():
            self._by_type[job_type] = _mixed(self._by_type.get(job_type), seconds / jobs)
        mean_s = sum(seconds for _, seconds in totals.values()) / count
        known = self._by_queue.get(queue)
        # Slower than known counts at once, faster only little by little.
        self._by_queue[queue] = mean_s if known is None or mean_s > known else _mixed(known, mean_s)
        self._last[queue] = count


def _mixed(known: float | None, newest: float) -> float:
    return newest if known is None else known + _WEIGHT * (newest - known)
