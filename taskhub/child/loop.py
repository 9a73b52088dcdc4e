"""One child's life: claim a batch, run it, settle it with the next claim, and so on until it is told to leave.

Duties, in order: take turns among the queues; settle the last batch and claim the next in one round
trip; run each job and note its outcome in the journal; when there is nothing, settle, acknowledge, and
wait for a bell. A dependency that is away is waited for, and so is whatever else fails in code of ours: it
ends neither this process nor a job. What goes on failing once jobs have run here is of their making: then
another process takes this one's place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from taskhub import clock, failpoints
from taskhub.broker.broker import Broker
from taskhub.child.batch import Batch, raw_id, split
from taskhub.child.batch_size import BatchSize
from taskhub.child.clean_ground import LONG_JOB_S
from taskhub.child.link import SupervisorLink
from taskhub.child.long_job import LongJobHelper
from taskhub.child.own_memory import OwnMemory
from taskhub.child.queue_rotation import QueueRotation
from taskhub.child.reporter import Reporter
from taskhub.child.run_job import JobRunner
from taskhub.child.settling import Settler
from taskhub.domain.errors import (
    BrokerUnavailableError,
    SchemaOutdatedError,
    StatementError,
    StoreUnavailableError,
    TaskhubError,
)
from taskhub.domain.job import ClaimedJob
from taskhub.domain.journal import journal_entry
from taskhub.domain.outcome import Outcome
from taskhub.handlers.registry import Registry
from taskhub.logs import get_logger
from taskhub.outage import Outage
from taskhub.services.execution.claim import MAX_BATCH_BYTES, Claim, Claimer, SlotClosedError
from taskhub.store.connection import Connection

log = get_logger(__name__)

LEFT_IN_ORDER = 0
LEFT_LOCKED = 72  # exit status: a job has left a transaction open that only the end of this process ends
LEFT_BROKEN = 73  # exit status: nothing of ours works here any more, not even giving back what is in hand
SLOT_WAS_CLOSED = 71  # exit status: a rescuer closed this slot; whatever was in hand is its business
_PAYLOAD = attrgetter("payload")
_TROUBLES, _LAST_TROUBLES = 5, 7  # in a row: a second or two; then as much again to give back what is in hand
_EMPTY_LASTS_S = 0.05
_FEW_QUEUES = 20
_QUEUES_LAST_S = 1.0
_ACTIVE_S, _RECENT = 30.0, 32  # serving all, listened to: queues used so lately, and so many others
_POLL_S = 0.1  # between two looks into PostgreSQL while Redis is away


@dataclass(frozen=True)
class Timing:
    """The waits of a loop, in seconds, and its limit of jobs."""

    block_s: float
    budget_s: float
    settle_within_s: float
    max_jobs: int | None


class ChildLoop:
    """Runs in the child's main thread; `run` returns the exit status."""

    def __init__(
        self,
        link: SupervisorLink,
        store: Connection,
        broker: Broker,
        claimer: Claimer,
        registry: Registry,
        runner: JobRunner,
        reporter: Reporter,
        rotation: QueueRotation,
        timing: Timing,
        memory: OwnMemory,
        *,
        serves_all: bool,
    ) -> None:
        self._link = link
        self._store = store
        self._broker = broker
        self._claimer = claimer
        self._registry = registry
        self._runner = runner
        self._reporter = reporter
        self._rotation = rotation
        self._timing = timing
        self._memory = memory
        self._ground = runner.ground
        self._serves_all = serves_all
        self._batch = Batch()
        self._settler = Settler(self._batch, store, broker, reporter)
        self._batch_size = BatchSize(timing.budget_s, MAX_BATCH_BYTES)
        self._postgres = Outage(log, "postgres.lost", "postgres.back", slot=link.slot)
        self._trouble = Outage(log, "child.waits", "child.goes_on", slot=link.slot)
        self._lock = threading.Lock()
        self._helper = LongJobHelper(
            self._batch,
            link,
            self._lock,
            settle=self._settler.settle_all,
            give_back=self._settler.give_back,
            settle_within_s=timing.settle_within_s,
            budget_s=timing.budget_s,
        )
        self._empty_until: dict[str, float] = {}
        self._queues_at = -_QUEUES_LAST_S
        self._cancel_serial = 0
        self._jobs_run = 0

    def run(self) -> int:
        """Consume until unwanted; returns the exit status for this process. Nothing else ends it."""
        try:
            while self._is_wanted():
                self._guarded(self._turn)
            while self._holds_something() and not self._runner.must_leave:
                if self._trouble.failures >= _LAST_TROUBLES and self._ground.spoilt is not None:
                    log.warning("child.broken", extra={"text": f"{self._ground.spoilt}; leaving what was in hand"})
                    return LEFT_BROKEN  # others settle the journal and give back the rest
                self._guarded(self._finish)
        except SlotClosedError:
            self._settler.abandon()
            log.warning("child.fenced", extra={"text": "a rescuer closed this slot; leaving what was in hand to it"})
            return SLOT_WAS_CLOSED
        if self._runner.must_leave:  # the journal is settled by others, once this process and its locks are gone
            log.warning("child.locked", extra={"text": "a job left a transaction of its own open; leaving, to end it"})
            return LEFT_LOCKED
        self._link.clear_notes()
        self._guarded(self._say_goodbye)
        self._link.leaving()
        if self._ground.spoilt:
            log.info("child.recycled", extra={"slot": self._link.slot, "text": self._ground.spoilt})
        return LEFT_IN_ORDER

    def _is_wanted(self) -> bool:
        limit = self._timing.max_jobs
        if self._ground.spoilt is not None or self._runner.must_leave:
            return False
        is_wanted = self._link.is_wanted() and self._link.has_supervisor()
        return is_wanted and not (limit and self._jobs_run >= limit)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; whatever of ours fails in it is waited out, and charged to no job."""
        try:
            step()
            self._postgres.back()
            self._trouble.back()
        except SlotClosedError:
            raise
        except (StoreUnavailableError, SchemaOutdatedError, StatementError) as error:
            self._wait(self._postgres.lost(str(error)))
        except BaseException as error:  # noqa: BLE001 (no descriptors, no memory, a bug: the child goes on)
            pause_s = self._trouble.lost(f"{type(error).__name__}: {error}"[:500], trace=error)
            is_lack = isinstance(error, (OSError, MemoryError, TaskhubError))  # another process would lack it, too
            if self._jobs_run and not is_lack and self._trouble.failures >= _TROUBLES:
                self._ground.spoil(f"after its jobs the same fails again and again: {type(error).__name__}")
            self._wait(pause_s)

    def _wait(self, pause_s: float) -> None:
        self._link.waiting()
        clock.sleep(pause_s)

    def _turn(self) -> None:
        """One batch, or one wait."""
        if self._link.is_quiet() or not self._link.may_start():
            self._rest()
            return
        self._link.idle()
        self._ground.put_back()  # a thread that a job has left may have done it since
        self._helper.ensure()
        if self._claim_next():
            self._run_batch()
        else:
            self._wait_for_bell()

    def _claim_next(self) -> bool:
        """Settle what is finished and claim a batch; False: there is nothing to do anywhere."""
        self._refresh_queues()
        with self._lock:
            self._settler.give_back()  # left over when starting was not allowed, or could not be given back then
            if self._claimer.redis_is_away:
                self._settler.settle_all()
            else:
                self._settler.settle_apart()
            peers = self._link.peers()
            now = clock.monotonic_s()
            for patient in (True, False):  # first pass over queues that were not empty a moment ago
                for queue in self._rotation.order():
                    if patient == (self._empty_until.get(queue, 0.0) > now):
                        continue
                    if self._claim_from(queue, peers):
                        self._empty_until.pop(queue, None)
                        self._rotation.served(queue)
                        return True
                    # Among many queues a look at each empty one is dear; before it waits, it looks at them all.
                    lasts_s = _EMPTY_LASTS_S * max(1.0, len(self._rotation.queues) / _FEW_QUEUES)
                    self._empty_until[queue] = clock.monotonic_s() + lasts_s
            self._settler.settle_all()
        return False

    def _claim_from(self, queue: str, peers: int) -> bool:
        want = self._batch_size.want(queue)
        if self._timing.max_jobs:
            want = min(want, self._timing.max_jobs - self._jobs_run)
        try:
            claim = self._claim(queue, want, peers)
        except StatementError as error:  # perhaps a result that cannot be stored: settle them apart, claim later
            log.warning("claim.refused", extra={"queue": queue, "text": str(error)})
            self._settler.settle_all()
            return False
        if claim is None:
            return False
        self._settler.give_back_withheld()
        return not claim.is_empty  # what lies behind stale ids must not wait for the next bell

    def _claim(self, queue: str, want: int, peers: int) -> Claim | None:
        """Settle what is finished, and hold what the claim brought."""
        with self._batch.finished_taken() as outcomes:
            finished, others = split(outcomes)
            claim = self._claimer.claim(queue, want, peers, self._batch.lease, finished)
            if claim is None:
                return None
            outcomes[:] = others
        self._settler.settled_by(claim, finished)
        self._batch.take_over(claim.queue, claim.lease, _ordered(claim.jobs), claim.withheld)
        self._claimer.confirm()
        self._batch_size.received(queue, len(claim.jobs), sum(map(len, map(_PAYLOAD, claim.jobs))))
        self._link.clear_notes()
        self._link.hold(self._batch.token)
        return claim

    def _run_batch(self) -> None:
        count, seconds = 0, 0.0
        pending = self._batch.pending
        try:
            while pending and self._ground.spoilt is None and self._link.is_wanted() and self._may_go_on():
                try:
                    job = pending.popleft()
                except IndexError:  # the helper thread took the last
                    break
                count += 1
                seconds += self._run_one(job)
        finally:
            self._ground.clean()
            self._helper.batch_ends()
            self._jobs_run += count
        self._batch_size.record(self._batch.queue, count, seconds)
        if pending:
            with self._lock:
                self._settler.give_back()

    def _may_go_on(self) -> bool:
        if self._link.cancel_serial() != self._cancel_serial:
            self._look_for_cancellations()
        if self._link.is_revoked(self._batch.token):
            log.info("child.relieved", extra={"text": "unstarted jobs were given back from outside"})
            return False
        return self._link.may_start() and not self._runner.must_leave

    def _run_one(self, job: ClaimedJob) -> float:
        """Run a job and keep its outcome; returns the seconds it took. Before it has begun, a failure returns it."""
        try:
            handler = self._registry.get(job.type)
            if handler is None:
                with self._lock:
                    self._settler.postpone(job)
                return 0.0
            if job.crashes:
                self._run_alone()
            raw = raw_id(job.id)
            self._helper.job_begins()
            self._link.begin(raw, self._runner.timeout_s(handler, job))
            if self._link.is_revoked(self._batch.token):  # only now: who revokes looks at what has begun after
                self._put_back(job)
                return 0.0
            self._reporter.started(self._batch.queue, job)
            self._ground.job_type = job.type
            outcome = self._runner.run(handler, job, self._batch.queue, self._batch.lease or "")
        except BaseException:
            self._put_back(job)
            raise
        duration_s = outcome.finished_s - outcome.started_s
        self._keep(outcome, raw, duration_s)
        return duration_s

    def _put_back(self, job: ClaimedJob) -> None:
        self._link.settling()
        self._batch.pending.appendleft(job)

    def _keep(self, outcome: Outcome, raw: bytes, duration_s: float) -> None:
        """From here on the outcome is in the batch, whatever fails."""
        self._batch.finished.append(outcome)
        is_noted = False
        try:
            failpoints.hit("worker.after_handler")
            is_noted = self._link.note(journal_entry(outcome, raw))
        finally:
            if not is_noted:  # no room: then it must be settled before anything else starts
                self._link.finishing()
                self._settle_until_done()
        if duration_s > LONG_JOB_S:
            self._ground.clean()  # still this job's time: what its leftovers do now is its own
        if self._memory.is_limited and self._memory.is_beyond():
            self._ground.spoil(f"it has more than TASKHUB_HARD_RSS_MB={self._memory.limit_mb} in use after a job")
        self._link.end()
        self._runner.clean()

    def _run_alone(self) -> None:
        """A job that has crashed its child before runs with nothing else at stake."""
        with self._lock:
            self._settler.give_back()
        self._settle_until_done()

    def _look_for_cancellations(self) -> None:
        """Cancelled jobs that have not begun never do."""
        serial = self._link.cancel_serial()
        with self._lock:
            self._settler.release_cancelled()
        self._cancel_serial = serial

    def _settle_until_done(self) -> None:
        """Settle everything, however long PostgreSQL is away. What the record says of the job stays as it is."""
        while self._batch.finished and not self._runner.must_leave:
            try:
                with self._lock:
                    self._settler.settle_all()
                self._postgres.back()
            except TaskhubError as error:
                clock.sleep(self._postgres.lost(str(error)))
            except BaseException as error:  # noqa: BLE001 (as in _guarded)
                clock.sleep(self._trouble.lost(f"{type(error).__name__}: {error}"[:500], trace=error))

    def _holds_something(self) -> bool:
        return bool(self._batch.pending or self._batch.finished or self._batch.withheld)

    def _finish(self) -> None:
        """Leave nothing behind."""
        self._helper.batch_ends()
        self._link.settling()
        with self._lock:
            self._settler.settle_all()
            self._settler.give_back()

    def _say_goodbye(self) -> None:
        self._claimer.acknowledge()
        self._reporter.flush()

    def _rest(self) -> None:
        """Nothing may be started now: settle, and look again soon."""
        with self._lock:
            self._settler.settle_all()
            self._link.clear_notes()
        self._wait(min(0.1, self._timing.block_s))

    def _wait_for_bell(self) -> None:
        self._link.clear_notes()
        self._claimer.acknowledge()
        self._reporter.flush()
        self._batch.forget()
        self._link.idle()
        if self._claimer.redis_is_away:
            clock.sleep(_POLL_S)
            return
        try:
            self._broker.wait(self._rotation.queues, self._timing.block_s)
            self._empty_until.clear()
        except BrokerUnavailableError:
            clock.sleep(_POLL_S)

    def _refresh_queues(self) -> None:
        """Serving `*`, learn of queues that came since."""
        if not self._serves_all or clock.monotonic_s() - self._queues_at < _QUEUES_LAST_S:
            return
        self._queues_at = clock.monotonic_s()
        with self._lock:
            known = {name for (name,) in self._store.run("served_queues", _ACTIVE_S, _RECENT)} | set(
                self._registry.queues()
            )
        if known != set(self._rotation.queues):
            self._rotation.reweigh(dict.fromkeys(sorted(known), 1))


def _ordered(jobs: list[ClaimedJob]) -> list[ClaimedJob]:
    """As they came, but those that have crashed a child before come last (each then runs alone)."""
    return sorted(jobs, key=lambda job: job.crashes > 0)
