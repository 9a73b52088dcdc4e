"""Run one claimed job: resolve, decode, begin, call, end; everything that a handler can do becomes an Outcome here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import orjson

from taskhub import clock
from taskhub.child.clean_ground import CleanGround
from taskhub.child.failure_policy import FailurePolicy
from taskhub.child.link import SupervisorLink
from taskhub.child.own_process import own_process_mark
from taskhub.child.setters import TOUCHED
from taskhub.domain.errors import TransactionStateError
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Outcome
from taskhub.handlers.job import Job
from taskhub.handlers.raises import JobCancelled, JobTimeout
from taskhub.handlers.registry import Handler
from taskhub.logs.output import Output
from taskhub.logs.source_lines import source_line
from taskhub.services.execution.transaction import CompletingTransaction
from taskhub.store.connection import Connection
from taskhub.store.transaction import HandlerSession

INTERRUPT = signal.SIGUSR2  # the supervisor's word for: the present task is overdue, or cancelled
_STRAY_COPY = 70  # exit status of a process that a handler forked and that returned from the handler


class JobRunner:
    """Runs jobs one after the other in this process's main thread."""

    def __init__(
        self,
        link: SupervisorLink,
        policy: FailurePolicy,
        ground: CleanGround,
        session: HandlerSession,
        doubts: Connection,
    ) -> None:
        self.ground = ground
        self._link = link
        self._policy = policy
        self._session = session
        self._doubts = doubts
        self._is_own = own_process_mark()
        self._home = (os.getpid(), threading.get_ident())
        self._may_interrupt = False
        self._running = ""  # the lease and id of the job whose handler runs
        self._transaction: CompletingTransaction | None = None
        self.must_leave = False  # a handler holds a lock that only the end of this process frees
        self._claimed: ClaimedJob | None = None
        self.output = Output(self._claimed_fields)

    def timeout_s(self, handler: Handler, claimed: ClaimedJob) -> float:
        """How long this execution may take: as the job says, else its type, else the settings."""
        return claimed.timeout_s or handler.timeout_s or self._policy.timeout_s

    def run(self, handler: Handler, claimed: ClaimedJob, queue: str, lease: str, started_s: float) -> Outcome:
        """Run `claimed` with its handler, between the link's `begin` (at `started_s`) and `end`, which the caller says.

        What is raised here is our own trouble, and the handler has not begun.
        """
        self._claimed = claimed
        try:
            job = self._job(claimed, queue, lease)
            self._running = claimed.id
            try:
                self._may_interrupt = True
                result = copy_context().run(handler.run, job)
            finally:  # an interrupt that hits right here is still caught below, and so is a timer of the handler's
                self._may_interrupt = False
                self._running = ""
                if TOUCHED.is_set and self._is_own[0]:  # a copy that returns is ended below
                    self.ground.clean()
        except _OurTroubleError as error:
            raise error.cause from None
        except BaseException as error:  # noqa: BLE001 (sys.exit and friends in a handler are its failure too)
            finished_s = clock.boottime_s()
            fate = self._policy.fate_of(claimed, error)
            outcome: Outcome = Failed.of(claimed.id, error, fate, started_s, finished_s, source_line)
        else:
            outcome = Completed.of(claimed.id, result, started_s, clock.boottime_s())
        if self.output.pending:
            self.output.job_ends()
        if not self._is_own[0]:
            os._exit(_STRAY_COPY)  # a forked copy of this child must never act as it
        return outcome if self._transaction is None else self._concluded(claimed, outcome)

    def clean(self) -> None:
        """The job's outcome is noted: what it left in its session is undone before the next begins."""
        if self._transaction is not None:
            self._transaction = None
            self._session.clean()

    def forget_in_fork(self) -> None:
        """In a process that a handler forks: the supervisor's signals mean nothing to it."""
        if signal.getsignal(INTERRUPT) == self.interrupt:
            signal.signal(INTERRUPT, signal.SIG_DFL)

    def interrupt(self, _signum: int, _frame: object) -> None:
        """Signal handler: end an overdue or cancelled task by an exception inside its function, nowhere else."""
        if not self._may_interrupt:
            return
        if self._link.is_overdue():
            self._may_interrupt = False
            raise JobTimeout("the job's time is over")
        if self._link.is_cancelled_now():
            self._may_interrupt = False
            raise JobCancelled("the job was cancelled while it ran")

    def is_to_stop(self) -> bool:
        """True if a handler does well to come to an end."""
        return not self._link.is_wanted() or self.are_due()

    # What a job's transaction, and the job, ask of the execution that they are part of

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """No time-out or cancellation is raised inside; the supervisor repeats it afterwards."""
        before, self._may_interrupt = self._may_interrupt, False
        try:
            yield
        finally:
            self._may_interrupt = before

    def are_due(self) -> bool:
        """True if the job is to be cut short."""
        return self._link.is_overdue() or self._link.is_cancelled_now()

    def are_here(self) -> bool:
        """True in the thread and the process that run the handler, and nowhere else."""
        return (os.getpid(), threading.get_ident()) == self._home

    def left_s(self) -> float:
        """The job's time that is left."""
        return self._link.left_s()

    def transaction_of(self, job: Job) -> CompletingTransaction:
        if job.id != self._running:
            raise TransactionStateError("this job is not running any more")
        if self._transaction is None:
            self._transaction = CompletingTransaction(self._session, self._doubts, self, job.id, job.lease)
        return self._transaction

    def _concluded(self, claimed: ClaimedJob, outcome: Outcome) -> Outcome:
        assert self._transaction is not None
        if self._transaction.must_ask:
            self._link.finishing()  # its time does not run while PostgreSQL is away
        concluded = self._transaction.conclude(outcome, self._policy.usual(claimed))
        self.must_leave = self._transaction.is_open
        return concluded

    def running_fields(self) -> dict[str, Any]:
        """The job whose handler runs, as fields of a line; none between two."""
        return self._claimed_fields() if self._running else {}

    def _claimed_fields(self) -> dict[str, Any]:
        job = self._claimed
        return {} if job is None else {"job_id": job.id, "type": job.type, "attempt": job.attempt}

    def _job(self, claimed: ClaimedJob, queue: str, lease: str) -> Job:
        try:
            payload: dict[str, Any] = orjson.loads(claimed.payload)
            payload.pop("type", None)
        except (MemoryError, OSError) as error:
            raise _OurTroubleError(error) from error
        return Job(
            id=claimed.id,
            type=claimed.type,
            queue=queue,
            payload=payload,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            lease=lease,
            execution=self,
        )


class _OurTroubleError(Exception):
    """The handler could not even begin, and neither it nor its job's payload is to blame."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause
