"""Account for what one dead generation of a slot held, by its record: the same for this worker's and for older ones'.

The record in shared memory tells exactly what a dead child had finished (its journal), what it was running, and why
it died. It stays until PostgreSQL has confirmed that all of it is accounted for.
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
from taskhub.maintenance.link import Record
from taskhub.maintenance.requeuer import PendingRequeues
from taskhub.maintenance.rescue_events import rescued_events, settled_events
from taskhub.services.recovery.rescue import STOPPED, Death, Held, rescue
from taskhub.settings.fields import Settings
from taskhub.store.connection import Store
from taskhub.store.jobs import job_states

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


class RecordRecovery:
    """Every call may be repeated from the start after a failure: the record stays until then."""

    def __init__(self, store: Store, settings: Settings, requeues: PendingRequeues, teller: Teller) -> None:
        self._store = store
        self._settings = settings
        self._requeues = requeues
        self._teller = teller

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
        self._requeues.add(slot, [job.id for job in rescued if job.status == "queued"])
        record.confirm()
        self._teller.tell(ChildEnded(record.death_reason or record.cause))
        self._tell(slot, rescued_events(rescued, death))
        self._tell(slot, settled_events(outcomes, before, job_states(self._store, finished), record.token))

    def recover_unrecorded(self, slot: WorkerSlot) -> None:
        """Take back what a slot held of which no record tells."""
        rescued = rescue(self._store, Held(slot, record_is_lost=True), _UNRECORDED)
        self._tell(slot, rescued_events(rescued, _UNRECORDED))
        self._requeues.add(slot, [job.id for job in rescued if job.status == "queued"])

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
