"""Fail jobs that expired before they started; forget jobs, keys and history whose time of keeping is over.

Bounded batches: a large backlog of old rows goes bit by bit, a full batch sooner followed by the next.
"""

from __future__ import annotations

from taskhub.config import Settings
from taskhub.logs import get_logger
from taskhub.store.connection import Store

log = get_logger(__name__)

_ROWS = 1_000
_NIL = "00000000-0000-0000-0000-000000000000"


class Pruner:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._since = _NIL

    def expire(self) -> None:
        """Queued jobs past their expires_at fail."""
        for (job_id,) in self._store.run("expire_jobs", _ROWS):
            log.info("job.failed", extra={"job_id": job_id, "text": "expired before it was started"})

    def prune(self) -> None:
        """One batch of old jobs, and of old keys."""
        settings = self._settings
        if settings.retention_s or settings.dead_retention_s:
            [(last, gone)] = self._store.run(
                "prune_jobs", self._since, settings.retention_s, settings.dead_retention_s, _ROWS
            )
            self._since = last or _NIL
            if gone:
                log.debug("jobs.pruned", extra={"count": gone})
        self._store.run("prune_keys", _ROWS)
