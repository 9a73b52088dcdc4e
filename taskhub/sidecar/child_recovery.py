"""See to the dead children of this worker: nothing that they held stays behind.

A record that cannot be understood stops no other: in the end its bytes are kept aside, and its slot is rescued
without it. Whoever damaged it was no job: what such a slot held is interrupted, and charged to nobody.
"""

from __future__ import annotations

from taskhub.logs import get_logger
from taskhub.maintenance.link import Record, WorkerLink
from taskhub.maintenance.requeuer import PendingRequeues
from taskhub.roles.isolation import Isolation
from taskhub.sidecar.record_recovery import RecordRecovery
from taskhub.store.connection import Store
from taskhub.store.slots import slots_of_worker
from taskhub.store.workers import delete_worker, expire_worker

log = get_logger(__name__)


class ChildRecovery:
    """Recovers generations one after the other; a failure leaves the record, and a later step tries again."""

    def __init__(
        self,
        store: Store,
        link: WorkerLink,
        records: RecordRecovery,
        requeues: PendingRequeues,
        isolation: Isolation,
    ) -> None:
        self._store = store
        self._link = link
        self._records = records
        self._requeues = requeues
        self._isolation = isolation
        self._has_resumed = False

    def step(self) -> None:
        """Recover this worker's dead children."""
        dead = [record for record in self._link.all() if record.is_dead and record.is_unconfirmed]
        self._isolation.each(
            dead, lambda record: (record.slot, record.generation), self._recover_own, self._recover_unread
        )
        if not self._has_resumed:
            self._resume()
            self._has_resumed = True

    def deregister(self) -> bool:
        """The children are gone: leave nothing for others to find. True once that is so."""
        self.step()
        if len(self._requeues) or any(record.is_dead and record.is_unconfirmed for record in self._link.all()):
            return False
        expire_worker(self._store, self._link.worker)
        delete_worker(self._store, self._link.worker)
        self._link.remove()
        return True

    def _resume(self) -> None:
        """After a sidecar's own death: lists that its predecessor had still to return."""
        unconfirmed = {(record.slot, record.generation) for record in self._link.all() if record.is_unconfirmed}
        for slot in slots_of_worker(self._store, self._link.worker):
            if (slot.number, slot.generation) not in unconfirmed:
                self._requeues.add(slot, [])

    def _recover_own(self, record: Record) -> None:
        if record.flaw is None:
            self._records.recover(self._link.worker, record)
        else:
            self._recover_unread(record, record.flaw)

    def _recover_unread(self, record: Record, why: str) -> None:
        """Keep the bytes of a record that nobody understands; its slot is rescued as if there were none."""
        self._link.set_aside(record.slot, record.raw_bytes(), why)
        log.error("record.set_aside", extra={"worker": self._link.worker, "slot": record.slot, "text": why})
        slots = [slot for slot in slots_of_worker(self._store, self._link.worker) if slot.number == record.slot]
        living = {other.generation for other in self._link.all() if other.slot == record.slot and not other.is_dead}
        for slot in slots:
            if slot.generation not in living:
                self._records.recover_unrecorded(slot)
        record.confirm()
