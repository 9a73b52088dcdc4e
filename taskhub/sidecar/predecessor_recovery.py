"""See to older workers of this state folder whose processes are all gone: what they held is taken back at once.

Every sound record is accounted for as it stands; what PostgreSQL knows of besides, whose records were damaged or
lost, is rescued without one. Then the file goes, or is kept aside if it is damaged.
"""

from __future__ import annotations

from taskhub.domain.job import WorkerSlot
from taskhub.logs import get_logger
from taskhub.maintenance.link import Record, Records, WorkerLink
from taskhub.roles.isolation import Isolation
from taskhub.sidecar.record_recovery import RecordRecovery
from taskhub.store.connection import Store
from taskhub.store.slots import slots_of_worker
from taskhub.store.workers import expire_worker

log = get_logger(__name__)

_Key = tuple[str, int, int]  # worker, slot, generation


class PredecessorRecovery:
    """One file after the other; what fails in one is tried again in a later step."""

    def __init__(self, store: Store, link: WorkerLink, records: RecordRecovery, isolation: Isolation) -> None:
        self._store = store
        self._link = link
        self._records = records
        self._isolation = isolation
        self._recovered: set[_Key] = set()  # records that are accounted for, of files that are not yet

    def step(self) -> None:
        """Recover older workers of this state folder whose processes are all gone."""
        for records in self._link.predecessors():
            self._recover_worker(records)

    def _recover_worker(self, records: Records) -> None:
        sound = list(records.all())
        unconfirmed = [record for record in sound if record.is_unconfirmed]
        self._recover_records(records, unconfirmed)
        if all(_key(records, record) in self._recovered for record in unconfirmed):
            self._recover_unrecorded(records, sound)
            expire_worker(self._store, records.worker)
            log.info("worker.inherited", extra={"worker": records.worker, "text": "an older worker of this host"})
            records.remove()
            self._recovered -= {_key(records, record) for record in unconfirmed}

    def _recover_records(self, records: Records, unconfirmed: list[Record]) -> None:
        """One that fails too often is set aside: PostgreSQL then tells what its slot held."""

        def recover(record: Record) -> None:
            self._records.recover(records.worker, record)
            self._recovered.add(_key(records, record))

        def set_aside(record: Record, why: str) -> None:
            records.set_aside(record.slot, record.raw_bytes(), why)
            self._records.recover_unrecorded(WorkerSlot(*_key(records, record)))
            self._recovered.add(_key(records, record))

        left = [record for record in unconfirmed if _key(records, record) not in self._recovered]
        self._isolation.each(left, lambda record: _key(records, record), recover, set_aside)

    def _recover_unrecorded(self, records: Records, sound: list[Record]) -> None:
        recorded = {(record.slot, record.generation) for record in sound}
        slots = slots_of_worker(self._store, records.worker)
        unrecorded = [slot for slot in slots if (slot.number, slot.generation) not in recorded]
        self._isolation.each(unrecorded, lambda slot: slot, self._records.recover_unrecorded)


def _key(records: Records, record: Record) -> _Key:
    return records.worker, record.slot, record.generation
