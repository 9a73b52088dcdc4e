"""Run one claimed job: resolve, decode, begin, call, end; everything that a handler can do becomes an Outcome here."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from typing import Any

import orjson

from taskhub import clock
from taskhub.domain.backoff import retry_delay_s
from taskhub.domain.job import NON_RETRYABLE, RESULT_UNSTORABLE, ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Outcome
from taskhub.execution.context import Job, TransactionMaker
from taskhub.execution.control import Fail, JobCancelled, JobTimeout, Retry
from taskhub.execution.lifeline import Lifeline
from taskhub.execution.registry import Handler
from taskhub.logs import get_logger

log = get_logger(__name__)

RESULT_MAX_BYTES = 1024 * 1024
_STRAY_COPY = 70  # exit status of a process that a handler forked and that returned from the handler


@dataclass(frozen=True)
class Policy:
    """The defaults for jobs whose type and submission say nothing."""

    retry_base_s: float
    retry_cap_s: float
    timeout_s: float


class Executor:
    """Runs jobs one after the other in this process's main thread."""

    def __init__(self, lifeline: Lifeline, policy: Policy, transaction: TransactionMaker) -> None:
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
                result = handler.function(job)
            finally:  # an interrupt that hits right here is still caught below
                self._may_interrupt = False
        except BaseException as error:  # noqa: BLE001 (sys.exit and friends in a handler are its failure too)
            outcome: Outcome = self._failed(claimed, error, started_s)
        else:
            outcome = self._completed(claimed, result, started_s)
        if os.getpid() != self._pid:
            os._exit(_STRAY_COPY)  # a forked copy of this child must never act as it
        return outcome

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

    def _completed(self, claimed: ClaimedJob, result: Any, started_s: float) -> Outcome:
        finished_s = clock.boottime_s()
        if result is None:
            return Completed(claimed.id, None, started_s, finished_s)
        try:
            text = encode_result(result)
        except ValueError as error:
            message = f"the result cannot be stored: {error}"
            return Failed(
                claimed.id, "ResultUnstorable", message, "exception", None, RESULT_UNSTORABLE, started_s, finished_s
            )
        return Completed(claimed.id, text, started_s, finished_s)

    def _failed(self, claimed: ClaimedJob, error: BaseException, started_s: float) -> Failed:
        finished_s = clock.boottime_s()
        name, message = type(error).__name__, _message(error)
        if isinstance(error, Fail):
            return Failed(claimed.id, name, message, "exception", None, NON_RETRYABLE, started_s, finished_s)
        cause = {JobTimeout: "timeout", JobCancelled: "cancelled"}.get(type(error), "exception")
        delay_s = error.after_s if isinstance(error, Retry) else None
        if delay_s is None:
            failures = claimed.attempt - claimed.interruptions
            delay_s = retry_delay_s(failures, self._policy.retry_base_s, self._policy.retry_cap_s)
        if cause == "exception" and not isinstance(error, Retry):
            log.debug("job.exception", exc_info=error, extra={"job_id": claimed.id, "type": claimed.type})
        return Failed(claimed.id, name, message, cause, delay_s, None, started_s, finished_s)


def encode_result(result: Any) -> str:
    """A handler's result as strict JSON text. Raises ValueError if it has none, or is too large."""
    try:
        encoded = orjson.dumps(result)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if len(encoded) > RESULT_MAX_BYTES:
        raise ValueError(f"{len(encoded)} bytes of JSON are more than {RESULT_MAX_BYTES}")
    if b"null" in encoded and _has_non_finite(result):
        raise ValueError("NaN and Infinity are no JSON")  # orjson would write null for them
    return encoded.decode()


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))
    if isinstance(value, dict):
        return any(map(_has_non_finite, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_non_finite, value))


def _payload(claimed: ClaimedJob) -> dict[str, Any]:
    payload: dict[str, Any] = orjson.loads(claimed.payload)
    payload.pop("type", None)
    return payload


def _message(error: BaseException) -> str:
    """The error's text and where it came from; never fails, whatever the error's __str__ does."""
    try:
        text = str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 (a handler's class may do anything here)
        text = f"{type(error).__name__} (its text cannot be read)"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    if frames and not isinstance(error, (Retry, Fail)):
        text += f" (at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})"
    return text
