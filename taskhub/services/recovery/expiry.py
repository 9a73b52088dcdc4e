"""Fail jobs that ran out before anybody had started them: whoever meets one does so."""

from __future__ import annotations

from taskhub.events.jobs import JobExpired
from taskhub.events.teller import Teller
from taskhub.store.connection import Store
from taskhub.store.schedule import expire_jobs


def fail_expired(store: Store, ids: list[str]) -> None:
    """Fail those of some jobs that are late indeed, and tell of each. Raises StoreUnavailableError."""
    teller = Teller()
    for job in expire_jobs(store, ids):
        teller.tell(JobExpired(job.id, job.queue, job.type))
