"""The one door by which is told what happened to jobs."""

from __future__ import annotations

from taskhub.events import counters, log_lines
from taskhub.events.jobs import JobEvent
from taskhub.metrics.recorder import JobRecorder


class Teller:
    """For one thread at a time; the API's threads share one, for what they tell goes past its recorder."""

    def __init__(self, worker: str | None = None, slot: int | None = None) -> None:
        self._recorder = JobRecorder()
        self._where = _where(worker, slot)

    @property
    def tells_starts(self) -> bool:
        """Ask before telling one: there is one for each job."""
        return log_lines.tells_starts()

    def tell(self, event: JobEvent, worker: str | None = None, slot: int | None = None) -> None:
        """Count it, and write its line. worker, slot: where it happened, if not where this teller is."""
        counters.count(self._recorder, event)
        log_lines.write(event, self._where if worker is None else _where(worker, slot))

    def flush(self) -> None:
        """Make the counts of executions visible to scrapes."""
        self._recorder.flush()


def _where(worker: str | None, slot: int | None) -> dict[str, object]:
    return {} if worker is None else {"worker": worker, "slot": slot}
