"""Tell of jobs whose type this worker does not know: one sentence a minute for each type, however many there are."""

from __future__ import annotations

from taskhub import clock
from taskhub.domain.job import ClaimedJob
from taskhub.handlers.registry import registry
from taskhub.logs import get_logger

log = get_logger(__name__)

_EVERY_S = 60.0
_MOST_TYPES = 100
_SHOWN_CHARACTERS = 500


class UnknownTypes:
    """One child's."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[float, int]] = {}  # by type: when it was told of last, jobs since then

    def tell(self, job: ClaimedJob, queue: str) -> None:
        """A job was given back."""
        told_at_s, count = self._jobs.get(job.type, (-_EVERY_S, 0))
        now_s = clock.monotonic_s()
        if now_s - told_at_s < _EVERY_S:
            self._jobs[job.type] = (told_at_s, count + 1)
            return
        if len(self._jobs) >= _MOST_TYPES:
            self._jobs.clear()
        self._jobs[job.type] = (now_s, 0)
        text = f"this worker has no handler for type {job.type} and puts its jobs back; it knows {_known()}"
        fields = {"job_id": job.id, "type": job.type, "queue": queue, "text": text}
        log.warning("job.unknown_type", extra=fields | ({"others_since": count} if count else {}))


def _known() -> str:
    types = ", ".join(registry.types())
    return types if len(types) <= _SHOWN_CHARACTERS else f"{types[:_SHOWN_CHARACTERS]}..."
