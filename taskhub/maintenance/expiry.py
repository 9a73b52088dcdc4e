"""Fail jobs that ran out before anybody had started them: whoever meets one does so."""

from __future__ import annotations

from taskhub.events.jobs import JobExpired
from taskhub.events.teller import Teller
from taskhub.store.connection import Store
from taskhub.store.statements import uuid_array


def fail_late(store: Store, ids: list[str]) -> None:
    """Fail those of some jobs that are late indeed, and tell of each. Raises StoreUnavailableError."""
    teller = Teller()
    for row in store.run("expire_jobs", uuid_array(ids)):
        teller.tell(JobExpired(*row))
