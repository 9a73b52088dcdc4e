"""Count executions cheaply: in plain memory for each job, in shared files for each batch.

Not for two threads at once: the caller holds the lock under which it settles.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import partial

from taskhub import logs
from taskhub.metrics import definitions as metrics

MAX_QUEUES = 500
_bucket_of = partial(bisect_left, metrics.DURATION_BOUNDS_S)
OTHER = "_other"  # no queue can bear this name


class QueueLabels:
    """Bounds the label `queue`, whose values clients choose: names beyond the first 500 count as one."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, queue: str) -> str:
        if queue in self._known:
            return queue
        if len(self._known) >= MAX_QUEUES:
            return OTHER
        self._known.add(queue)
        return queue


class _Tally:
    """What was counted of one queue and type since the last flush."""

    def __init__(self, queue: str, job_type: str) -> None:
        self._labels = (queue, job_type)
        self._histogram = metrics.JOB_DURATION.labels(queue, job_type)
        self.outcomes: dict[str, int] = {}
        self.reasons: dict[str, int] = {}
        self.buckets: dict[int, int] = {}
        self.total_s = 0.0

    def took(self, durations_s: list[float]) -> None:
        """Executions took so long, in seconds."""
        for bucket in map(_bucket_of, durations_s):
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.total_s += sum(duration_s for duration_s in durations_s if duration_s > 0)

    def flush(self) -> None:
        for outcome, count in self.outcomes.items():
            metrics.JOBS_PROCESSED.labels(*self._labels, outcome).inc(count)
        for reason, count in self.reasons.items():
            metrics.JOB_FAILURES.labels(*self._labels, reason).inc(count)
        if self.buckets:  # what `observe` does for each, done once for all
            self._histogram._sum.inc(self.total_s)
            for bucket, count in self.buckets.items():
                self._histogram._buckets[bucket].inc(count)
        self.outcomes, self.reasons, self.buckets, self.total_s = {}, {}, {}, 0.0


class JobRecorder:
    """One process's counts of executions; `flush` makes them visible to scrapes."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._touched: set[_Tally] = set()
        self._queues = QueueLabels()
        self._stale = 0

    def record(self, queue: str, job_type: str, outcome: str, reason: str | None, duration_s: float | None) -> None:
        """An execution ended. reason: why, if it failed; duration_s: in the handler, None if unknown."""
        tally = self._tally(queue, job_type)
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + 1
        if reason is not None:
            tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
        if duration_s is not None:
            tally.took([duration_s])

    def record_completed(self, queue: str, job_type: str, durations_s: list[float]) -> None:
        """Executions of one type were completed, in so many seconds each."""
        tally = self._tally(queue, job_type)
        tally.outcomes["completed"] = tally.outcomes.get("completed", 0) + len(durations_s)
        tally.took(durations_s)

    def stale(self, count: int) -> None:
        """Settlements were refused because their lease was lost."""
        self._stale += count

    def flush(self) -> None:
        """Add to the metrics what was counted since the last time."""
        touched, self._touched = self._touched, set()
        for tally in touched:
            tally.flush()
        if self._stale:
            metrics.STALE_WRITES.inc(self._stale)
            self._stale = 0
        count_dropped_lines()

    def _tally(self, queue: str, job_type: str) -> _Tally:
        tally = self._tallies.get((queue, job_type)) or self._open(queue, job_type)
        self._touched.add(tally)
        return tally

    def _open(self, queue: str, job_type: str) -> _Tally:
        label = self._queues.label(queue)
        tally = self._tallies.get((label, job_type)) or _Tally(label, job_type)
        self._tallies[label, job_type] = tally
        if label == queue:  # an unbounded number of names must not fill this dictionary either
            self._tallies[queue, job_type] = tally
        return tally


def count_dropped_lines() -> None:
    """Add the lines of this process's log that were dropped since the last time."""
    dropped = logs.take_dropped()
    if dropped:
        metrics.LINES_DROPPED.inc(dropped)


def seed(queue_type_pairs: Iterable[tuple[str, str]]) -> None:
    """Show every execution metric at zero for these; once per group, in the process that serves scrapes."""
    for queue, job_type in queue_type_pairs:
        for outcome in metrics.OUTCOMES:
            metrics.JOBS_PROCESSED.labels(queue, job_type, outcome)
        for reason in metrics.REASONS:
            metrics.JOB_FAILURES.labels(queue, job_type, reason)
        metrics.JOB_DURATION.labels(queue, job_type)
