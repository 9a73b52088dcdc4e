"""Tell this worker's children of cancellations: of the job that they run, or of something else that they hold."""

from __future__ import annotations

from taskhub.maintenance.link import WorkerLink
from taskhub.store.cancellations import cancellations_of_worker
from taskhub.store.connection import Store


class Cancellation:
    """Carries the flag on a job's row to the child that holds it."""

    def __init__(self, store: Store, link: WorkerLink) -> None:
        self._store = store
        self._link = link

    def step(self) -> None:
        """Stop the jobs that run; of others, tell the child to look for itself."""
        living = {record.slot: record for record in self._link.all() if not record.is_dead}
        if not any(record.running for record in living.values()):
            return  # who holds anything runs the first of it
        for asked in cancellations_of_worker(self._store, self._link.worker):
            record = living.get(asked.slot)
            if record is None or record.token != asked.lease:
                continue
            if record.running == asked.job_id:
                record.cancel(asked.job_id)
            else:
                record.announce_cancellations()
