"""See to the dead children of this worker, and of older workers of this host: nothing they held stays behind.

The record in shared memory tells exactly what a dead child had finished (its journal), what it was
running, and why it died. It stays until PostgreSQL has confirmed that all of it is accounted for. One that
cannot be understood stops no other: in the end its bytes are kept aside, and its slot is rescued without it.
Whoever damaged it was no job: what such a slot held is interrupted, and charged to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskhub import clock
from taskhub.domain.backoff import retry_delay_s
from taskhub.domain.job import WorkerSlot
from taskhub.domain.journal import read_journal, undated
from taskhub.domain.outcome import Failed, Fate, Outcome
from taskhub.events.jobs import ChildEnded, JobEvent
from taskhub.events.teller import Teller
from taskhub.logs import get_logger
from taskhub.maintenance.link import Record, Records, WorkerLink
from taskhub.maintenance.rescue_events import rescued_events, settled_events
from taskhub.maintenance.returner import Returns
from taskhub.roles.isolation import Isolation
from taskhub.services.recovery.rescue import STOPPED, Death, Held, rescue
from taskhub.settings.fields import Settings
from taskhub.store.connection import Store
from taskhub.store.jobs import job_states
from taskhub.store.slots import slots_of_worker
from taskhub.store.workers import delete_worker, expire_worker

log = get_logger(__name__)

# Deaths that the supervisor decided on, and what the job that was running is told.
_ENDED_BY_US = {
    "timeout": ("JobTimeout", "the job did not end within its time", "timeout"),
    "memory_limit": ("MemoryLimit", "the process exceeded TASKHUB_HARD_RSS_MB", "memory_limit"),
    "cancelled": ("JobCancelled", "the job was cancelled while it ran", "cancelled"),
}


# What a record says of times is believed within these bounds: it may be damaged, or from before the host's last boot.
_LONGEST_RUN_S = 30 * 86_400.0

_UNRECORDED = Death(
    "worker_lost", "the process that ran the job ended, and its record was damaged or lost", interrupted=True
)


class ChildRecovery:
    """Recovers generations one after the other; a failure leaves the record, and a later step tries again."""

    def __init__(
        self,
        store: Store,
        link: WorkerLink,
        settings: Settings,
        returns: Returns,
        teller: Teller,
        isolation: Isolation,
    ) -> None:
        self._store = store
        self._link = link
        self._settings = settings
        self._returns = returns
        self._teller = teller
        self._isolation = isolation
        self._has_resumed = False
        self._inherited: set[tuple[str, int, int]] = set()  # records of older workers that are accounted for

    def step(self) -> None:
        """Recover this worker's dead children."""
        dead = [record for record in self._link.all() if record.is_dead and record.is_unconfirmed]
        self._isolation.each(
            dead, lambda record: (record.slot, record.generation), self._recover_own, self._recover_unread
        )
        if not self._has_resumed:
            self._resume()
            self._has_resumed = True

    def inherit(self) -> None:
        """Recover older workers of this state folder whose processes are all gone."""
        for records in self._link.predecessors():
            self._recover_older(records)

    def deregister(self) -> bool:
        """The children are gone: leave nothing for others to find. True once that is so."""
        self.step()
        if len(self._returns) or any(record.is_dead and record.is_unconfirmed for record in self._link.all()):
            return False
        expire_worker(self._store, self._link.worker)
        delete_worker(self._store, self._link.worker)
        self._link.remove()
        return True

    def _resume(self) -> None:
        """After a sidecar's own death: lists that its predecessor had still to return."""
        owed = {(record.slot, record.generation) for record in self._link.all() if record.is_unconfirmed}
        for slot in slots_of_worker(self._store, self._link.worker):
            if (slot.number, slot.generation) not in owed:
                self._returns.add(slot, [])

    def _recover_own(self, record: Record) -> None:
        if record.flaw is None:
            self.recover(self._link.worker, record)
        else:
            self._recover_unread(record, record.flaw)

    def _recover_older(self, records: Records) -> None:
        """Every record that is sound; then what PostgreSQL knows of besides, whose records were damaged or lost."""

        def recover(record: Record) -> None:
            self.recover(records.worker, record)
            self._inherited.add((records.worker, record.slot, record.generation))

        def set_aside(record: Record, why: str) -> None:
            records.set_aside(record.slot, record.raw_bytes(), why)
            self._inherited.add((records.worker, record.slot, record.generation))

        def key(record: Record) -> tuple[str, int, int]:
            return records.worker, record.slot, record.generation

        sound = list(records.all())
        owed = [record for record in sound if record.is_unconfirmed]
        self._isolation.each([r for r in owed if key(r) not in self._inherited], key, recover, set_aside)
        if all(key(record) in self._inherited for record in owed):
            recorded = {(record.slot, record.generation) for record in sound}
            slots = slots_of_worker(self._store, records.worker)
            unrecorded = [slot for slot in slots if (slot.number, slot.generation) not in recorded]
            self._isolation.each(unrecorded, lambda slot: slot, self._recover_unrecorded)
            expire_worker(self._store, records.worker)
            log.info("worker.inherited", extra={"worker": records.worker, "text": "an older worker of this host"})
            records.remove()
            self._inherited -= {key(record) for record in owed}

    def recover(self, worker: str, record: Record) -> None:
        """Account for everything that one generation held."""
        slot = WorkerSlot(worker, record.slot, record.generation)
        ended = record.end_leftovers()  # before anything of it can run again
        if ended:
            log.info("child.leftovers", extra={"slot": record.slot, "count": ended, "text": "killed with its jobs"})
        outcomes = [_dated(outcome, record) for outcome in read_journal(record.journal_bytes())]
        running = record.running if record.running not in {outcome.id for outcome in outcomes} else None
        if running and record.death_reason in _ENDED_BY_US:
            outcomes.append(self._ended_by_us(running, record))
            running = None
        death = _death(record)
        held = Held(slot, record.token, outcomes, running)
        finished = [outcome.id for outcome in outcomes]
        before = job_states(self._store, finished)
        rescued = rescue(self._store, held, death)
        self._returns.add(slot, [job.id for job in rescued if job.status == "queued"])
        record.confirm()
        self._teller.tell(ChildEnded(record.death_reason or record.cause))
        self._tell(slot, rescued_events(rescued, death))
        self._tell(slot, settled_events(outcomes, before, job_states(self._store, finished), record.token))

    def _recover_unread(self, record: Record, why: str) -> None:
        """Keep the bytes of a record that nobody understands; its slot is rescued as if there were none."""
        self._link.set_aside(record.slot, record.raw_bytes(), why)
        log.error("record.set_aside", extra={"worker": self._link.worker, "slot": record.slot, "text": why})
        slots = [slot for slot in slots_of_worker(self._store, self._link.worker) if slot.number == record.slot]
        living = {other.generation for other in self._link.all() if other.slot == record.slot and not other.is_dead}
        for slot in slots:
            if slot.generation not in living:
                self._recover_unrecorded(slot)
        record.confirm()

    def _recover_unrecorded(self, slot: WorkerSlot) -> None:
        """Take back what a slot held of which no record tells."""
        rescued = rescue(self._store, Held(slot, record_is_lost=True), _UNRECORDED)
        self._tell(slot, rescued_events(rescued, _UNRECORDED))
        self._returns.add(slot, [job.id for job in rescued if job.status == "queued"])

    def _tell(self, slot: WorkerSlot, events: Iterable[JobEvent]) -> None:
        for event in events:
            self._teller.tell(event, slot.worker, slot.number)
        self._teller.flush()

    def _ended_by_us(self, job_id: str, record: Record) -> Outcome:
        name, message, cause = _ENDED_BY_US[record.death_reason]
        state = job_states(self._store, [job_id]).get(job_id)
        failures = state.attempts if state else 1
        delay_s = retry_delay_s(failures, self._settings.retry_base_s, self._settings.retry_cap_s)
        span = (record.started_s, clock.boottime_s(), record.peak_rss_mb)
        return _plausible(Failed.told(job_id, name, message, Fate(cause, delay_s), span))


def _death(record: Record) -> Death:
    """Why the process ended, and whether that is its running job's fault."""
    message = f"the process that ran the job ended: {record.cause}"
    if record.is_spared:
        message = f"a thread that an earlier job has left in the process ended it: {record.cause}"
        log.warning("job.spared", extra={"job_id": record.running, "slot": record.slot, "text": message})
    if record.was_stopped:
        message = STOPPED
    is_innocent = record.death_reason == "drain" or record.is_spared or record.was_stopped
    return Death(record.cause, message, record.peak_rss_mb, interrupted=is_innocent)


def _dated(outcome: Outcome, record: Record) -> Outcome:
    """The outcome with times that mean something to this host's clock of now."""
    return _plausible(outcome if record.is_of_this_boot else undated(outcome, clock.boottime_s()))


def _plausible(outcome: Outcome) -> Outcome:
    """The outcome with times that can be: it ended before now, and began before that."""
    now = clock.boottime_s()
    finished_s = outcome.finished_s if now - _LONGEST_RUN_S <= outcome.finished_s <= now else now
    started_s = outcome.started_s if finished_s - _LONGEST_RUN_S <= outcome.started_s <= finished_s else finished_s
    return outcome._replace(started_s=started_s, finished_s=finished_s)
