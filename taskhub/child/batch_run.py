"""Run the jobs of a batch, one after the other, and note each outcome in the journal before the next begins."""

from __future__ import annotations

from taskhub import failpoints
from taskhub.child.batch import raw_id
from taskhub.child.clean_ground import LONG_JOB_S
from taskhub.child.link import SupervisorLink
from taskhub.child.long_job import LongJobHelper
from taskhub.child.run_job import JobRunner
from taskhub.child.settling import Settler
from taskhub.child.troubles import Troubles
from taskhub.domain.job import ClaimedJob
from taskhub.domain.journal import journal_entry
from taskhub.domain.outcome import Outcome
from taskhub.events.jobs import JobStarted
from taskhub.handlers.registry import Registry
from taskhub.logs import get_logger

log = get_logger(__name__)


class BatchRun:
    """In the main thread, over the settler's batch; the helper looks after the others while a job runs long."""

    def __init__(
        self,
        link: SupervisorLink,
        registry: Registry,
        runner: JobRunner,
        settler: Settler,
        helper: LongJobHelper,
        troubles: Troubles,
    ) -> None:
        self._link = link
        self._registry = registry
        self._runner = runner
        self._ground = runner.ground
        self._settler = settler
        self._batch = settler.batch
        self._helper = helper
        self._troubles = troubles
        self._cancel_serial = 0
        self._tells_starts = False
        self.jobs_run = 0

    @property
    def must_leave(self) -> bool:
        """A job has left something open that only the end of this process ends."""
        return self._runner.must_leave

    @property
    def spoilt(self) -> str | None:
        """What jobs have done to this process that cannot be undone; None: nothing."""
        return self._ground.spoilt

    def prepare(self) -> None:
        """Before a claim."""
        self._ground.put_back()  # a thread that a job has left may have done it since
        self._helper.ensure()

    def run(self) -> tuple[int, float]:
        """Run what may be begun and give the rest back; returns how many jobs, and the seconds that they took."""
        count, seconds = 0, 0.0
        pending = self._batch.pending
        self._tells_starts = self._settler.teller.tells_starts
        self._helper.batch_begins()
        try:
            while pending and self._may_go_on():
                try:
                    job = pending.popleft()
                except IndexError:  # the helper thread took the last
                    break
                took_s = self._run_one(job)
                if took_s is None:
                    log.info("child.relieved", extra={"text": "unstarted jobs were released from outside"})
                    break
                count += 1
                seconds += took_s
        finally:
            self._ground.clean()
            self._helper.batch_ends()
            self.jobs_run += count
        if pending:
            with self._settler.lock:
                self._settler.release()
        return count, seconds

    def finish(self) -> None:
        """Leave nothing behind."""
        self._helper.batch_ends()
        self._link.settling()
        with self._settler.lock:
            self._settler.settle_all()
            self._settler.release()

    def _may_go_on(self) -> bool:
        if self._ground.spoilt is not None or self._runner.must_leave:
            return False
        if self._link.may_begin(self._cancel_serial):
            return True
        self._look_for_cancellations()
        return self._link.may_begin(self._cancel_serial)

    def _look_for_cancellations(self) -> None:
        """Cancelled jobs that have not begun never do."""
        serial = self._link.cancel_serial()
        if serial != self._cancel_serial:
            with self._settler.lock:
                self._settler.release_cancelled()
            self._cancel_serial = serial

    def _run_one(self, job: ClaimedJob) -> float | None:
        """Run a job and keep its outcome; returns the seconds it took, None if it was taken away from outside.

        Before it has begun, a failure returns it.
        """
        try:
            handler = self._registry.get(job.type)
            if handler is None:
                with self._settler.lock:
                    self._settler.defer(job)
                return 0.0
            if job.crashes:
                self._run_alone()
            raw = raw_id(job.id)
            started_s = self._link.begin(raw, self._runner.timeout_s(handler, job))
            if self._link.is_revoked():  # only now: who revokes looks at what has begun after
                self._put_back(job)
                return None
            if self._tells_starts:
                self._settler.teller.tell(JobStarted(self._batch.queue, job))
            self._ground.job_type = job.type
            outcome = self._runner.run(handler, job, self._batch.queue, self._batch.lease or "", started_s)
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
        self._batch.keep(outcome)
        is_noted = False
        try:
            failpoints.hit("worker.after_handler")
            is_noted = self._link.note(journal_entry(outcome, raw))
        finally:
            if not is_noted:  # no room: then it must be settled before anything else starts
                self._link.finishing()
                self._settle_until_done()
                self._make_room()
        if duration_s > LONG_JOB_S:
            self._ground.clean()  # still this job's time: what its leftovers do now is its own
        if self._ground.is_weighed:
            self._ground.weigh()
        self._link.end()
        self._runner.clean()

    def _make_room(self) -> None:
        """The journal has been full: once everything in it is settled, the next outcomes need not be one by one."""
        with self._settler.lock:
            if not self._batch.is_unsettled:
                self._link.clear_notes()

    def _run_alone(self) -> None:
        """A job that has crashed its child before runs with nothing else at stake."""
        with self._settler.lock:
            self._settler.release()
        self._settle_until_done()

    def _settle_until_done(self) -> None:
        """However long PostgreSQL is away. What the record says of the job stays as it is."""
        while self._batch.is_unsettled and not self._runner.must_leave:
            self._troubles.repeat(self._settle_all)

    def _settle_all(self) -> None:
        with self._settler.lock:
            self._settler.settle_all()
