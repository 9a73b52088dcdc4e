"""See to the dead children of this worker, and of older workers of this host: nothing they held stays behind.

The record in shared memory tells exactly what a dead child had finished (its journal), what it was
running, and why it died. It stays until PostgreSQL has confirmed that all of it is accounted for.
"""

from __future__ import annotations

from collections import deque

from taskhub import clock
from taskhub.config import Settings
from taskhub.domain.backoff import retry_delay_s
from taskhub.domain.errors import QueueUnavailableError
from taskhub.domain.journal import read_journal, undated
from taskhub.domain.outcome import Failed, Fate, Outcome
from taskhub.logs import get_logger
from taskhub.maintenance.records import Record, Watch
from taskhub.maintenance.report import RescueReport
from taskhub.queue.broker import Broker
from taskhub.services.claim import Slot
from taskhub.services.rescue import Death, Remains, forget_slot, push_rescued, rescue, return_lists
from taskhub.store.connection import Connection, Row
from taskhub.store.statements import uuid_array

log = get_logger(__name__)

# Deaths that the supervisor decided on, and what the job that was running is told.
_ENDED_BY_US = {
    "timeout": ("JobTimeout", "the job did not end within its time", "timeout"),
    "memory_limit": ("MemoryLimit", "the process exceeded TASKHUB_HARD_RSS_MB", "memory_limit"),
    "cancelled": ("JobCancelled", "somebody asked for the job to be cancelled", "cancelled"),
}


class Undertaker:
    """Buries generations one after the other; a failure leaves the record, and the next step tries again."""

    def __init__(
        self, store: Connection, broker: Broker, watch: Watch, settings: Settings, report: RescueReport
    ) -> None:
        self._store = store
        self._broker = broker
        self._watch = watch
        self._settings = settings
        self._report = report
        self._lists: deque[Slot] = deque()

    def resume(self) -> None:
        """After a sidecar's own death: lists that its predecessor had still to return."""
        owed = {(record.slot, record.generation) for record in self._watch.all() if record.is_owed}
        for number, generation in self._store.run("slots_of_worker", self._watch.worker):
            if (number, generation) not in owed:
                self._lists.append(Slot(self._watch.worker, number, generation))

    def step(self) -> None:
        """Bury this worker's dead children, then return their lists."""
        for record in self._watch.all():
            if record.is_dead and record.is_owed:
                self.bury(self._watch.worker, record)
        self._return_lists()

    def inherit(self) -> None:
        """Bury older workers of this state folder whose processes are all gone."""
        for records in self._watch.older():
            for record in records.all():
                if record.is_owed:
                    self.bury(records.worker, record)
            self._store.run("expire_worker", records.worker)  # last: recoverers elsewhere know less than the records
            log.info("worker.inherited", extra={"worker": records.worker, "text": "an older worker of this host"})
            records.remove()
        self._return_lists()

    @property
    def is_done(self) -> bool:
        """True if nothing is left to bury or to return."""
        return not self._lists and not any(record.is_dead and record.is_owed for record in self._watch.all())

    def bury(self, worker: str, record: Record) -> None:
        """Account for everything that one generation held."""
        slot = Slot(worker, record.slot, record.generation)
        ended = record.end_leftovers(worker)  # before anything of it can run again
        if ended:
            log.info("child.leftovers", extra={"slot": record.slot, "count": ended, "text": "killed with its jobs"})
        outcomes = list(read_journal(record.journal_bytes()))
        if not record.is_of_this_boot:
            outcomes = [undated(outcome, clock.boottime_s()) for outcome in outcomes]
        running = record.running if record.running not in {outcome.id for outcome in outcomes} else None
        if running and record.death_reason in _ENDED_BY_US:
            outcomes.append(self._ended_by_us(running, record))
            running = None
        death = Death(
            cause=record.cause,
            message=f"the process that ran the job ended: {record.cause}",
            peak_rss_mb=record.peak_rss_mb,
            interrupted=record.death_reason == "drain",
        )
        remains = Remains(slot, record.token, outcomes, running)
        before = self._states(outcomes)
        rescued = rescue(self._store, remains, death)
        record.confirm()
        self._lists.append(slot)
        self._report.buried(record.death_reason, record.cause)
        self._report.rescued(rescued, death, slot)
        self._report.settled_for_the_dead(outcomes, before, self._states(outcomes), record.token, slot)
        try:
            push_rescued(self._store, self._broker, rescued)
        except QueueUnavailableError:
            log.debug("rescue.unpushed", extra={"slot": record.slot, "text": "the dispatcher will push"})

    def _states(self, outcomes: list[Outcome]) -> dict[str, Row]:
        return {row[0]: row for row in self._store.run("job_states", uuid_array([outcome.id for outcome in outcomes]))}

    def _ended_by_us(self, job_id: str, record: Record) -> Outcome:
        name, message, cause = _ENDED_BY_US[record.death_reason]
        rows = self._store.run("job_states", uuid_array([job_id]))
        failures = rows[0][5] if rows else 1
        delay_s = retry_delay_s(failures, self._settings.retry_base_s, self._settings.retry_cap_s)
        span = (record.started_s, clock.boottime_s(), record.peak_rss_mb)
        return Failed.told(job_id, name, message, Fate(cause, delay_s), span)

    def _return_lists(self) -> None:
        """In-flight lists of the buried; while Redis is away they wait, and their slots stay known."""
        while self._lists:
            slot = self._lists[0]
            names = [name for name, _ in self._store.run("queue_names")]
            return_lists(self._store, self._broker, slot, names)
            forget_slot(self._store, slot)
            self._lists.popleft()
