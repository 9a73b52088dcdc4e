"""Run one claimed job: resolve, decode, begin, call, end; everything that a handler can do becomes an Outcome here."""

from __future__ import annotations

import logging
import os
import signal
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import orjson

from taskhub import clock
from taskhub.domain import storable
from taskhub.domain.backoff import retry_delay_s
from taskhub.domain.job import NON_RETRYABLE, ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Fate, Outcome
from taskhub.execution.clean_ground import CleanGround
from taskhub.execution.context import Job, TransactionMaker
from taskhub.execution.control import Fail, JobCancelled, JobTimeout, Retry, asked_delay
from taskhub.execution.lifeline import Lifeline
from taskhub.execution.registry import Handler
from taskhub.execution.setters import TOUCHED
from taskhub.logs import get_logger

log = get_logger(__name__)

INTERRUPT = signal.SIGUSR2  # the supervisor's word for: the present task is overdue, or cancelled
_CAUSES = {JobTimeout: "timeout", JobCancelled: "cancelled"}
_STRAY_COPY = 70  # exit status of a process that a handler forked and that returned from the handler


@dataclass(frozen=True)
class Policy:
    """The defaults for jobs whose type and submission say nothing."""

    retry_base_s: float
    retry_cap_s: float
    timeout_s: float


class Executor:
    """Runs jobs one after the other in this process's main thread."""

    def __init__(self, lifeline: Lifeline, policy: Policy, transaction: TransactionMaker, ground: CleanGround) -> None:
        self.ground = ground
        self._lifeline = lifeline
        self._policy = policy
        self._transaction = transaction
        self._pid = os.getpid()
        self._may_interrupt = False

    def timeout_s(self, handler: Handler, claimed: ClaimedJob) -> float:
        """How long this execution may take: as the job says, else its type, else the settings."""
        return claimed.timeout_s or handler.timeout_s or self._policy.timeout_s

    def run(self, handler: Handler, claimed: ClaimedJob, queue: str, lease: str) -> Outcome:
        """Run `claimed` with its handler, between `Lifeline.begin` and `Lifeline.end`, which the caller says."""
        started_s = clock.boottime_s()
        try:
            job = self._job(claimed, queue, lease)
            try:
                self._may_interrupt = True
                result = copy_context().run(handler.function, job)
            finally:  # an interrupt that hits right here is still caught below, and so is a timer of the handler's
                self._may_interrupt = False
                if TOUCHED.is_set and os.getpid() == self._pid:  # a copy that returns is ended below
                    self.ground.clean()
        except BaseException as error:  # noqa: BLE001 (sys.exit and friends in a handler are its failure too)
            finished_s = clock.boottime_s()
            outcome: Outcome = Failed.of(claimed.id, error, self._fate(claimed, error), started_s, finished_s)
            _tell(claimed, error)
        else:
            outcome = Completed.of(claimed.id, result, started_s, clock.boottime_s())
        if os.getpid() != self._pid:
            os._exit(_STRAY_COPY)  # a forked copy of this child must never act as it
        return outcome

    def forget_in_fork(self) -> None:
        """In a process that a handler forks: the supervisor's signals mean nothing to it."""
        if signal.getsignal(INTERRUPT) == self.interrupt:
            signal.signal(INTERRUPT, signal.SIG_DFL)

    def interrupt(self, _signum: int, _frame: object) -> None:
        """Signal handler: end an overdue or cancelled task by an exception inside its function, nowhere else."""
        if not self._may_interrupt:
            return
        if self._lifeline.is_overdue():
            self._may_interrupt = False
            raise JobTimeout("the job's time is over")
        if self._lifeline.is_cancelled_now():
            self._may_interrupt = False
            raise JobCancelled("somebody asked for the job to be cancelled")

    def _job(self, claimed: ClaimedJob, queue: str, lease: str) -> Job:
        return Job(
            id=claimed.id,
            type=claimed.type,
            queue=queue,
            payload=_payload(claimed),
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            lease=lease,
            transaction=self._transaction,
        )

    def _fate(self, claimed: ClaimedJob, error: BaseException) -> Fate:
        kind = type(error)
        if issubclass(kind, Fail):
            return Fate("exception", None, NON_RETRYABLE, is_meant=True)
        is_meant, (delay_s, note) = issubclass(kind, Retry), (None, "")
        if issubclass(kind, Retry):
            delay_s, note = asked_delay(error)  # type: ignore[arg-type]
        if delay_s is None:
            failures = claimed.attempt - claimed.interruptions
            delay_s = retry_delay_s(failures, self._policy.retry_base_s, self._policy.retry_cap_s)
        return Fate(_CAUSES.get(kind, "exception"), delay_s, None, note, is_meant)


def _tell(claimed: ClaimedJob, error: BaseException) -> None:
    """The traceback, for those who log at that level."""
    if log.isEnabledFor(logging.DEBUG):
        try:
            log.debug("job.exception", exc_info=error, extra={"job_id": claimed.id, "type": claimed.type})
        except BaseException as problem:  # noqa: BLE001 (the exception's class may do anything when it is shown)
            log.debug("job.exception", extra={"job_id": claimed.id, "text": storable.class_name(problem)})


def _payload(claimed: ClaimedJob) -> dict[str, Any]:
    payload: dict[str, Any] = orjson.loads(claimed.payload)
    payload.pop("type", None)
    return payload
