"""What a handler gets: the job that it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from taskhub.logs import JobLogger


class JobTransaction(Protocol):
    """The transaction that completes the job together with the handler's own writes."""

    def __enter__(self) -> Any: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def complete(self, cursor: Any) -> None: ...


class Execution(Protocol):
    """What a job asks of the process that runs it."""

    def transaction_of(self, job: Job) -> JobTransaction: ...
    def left_s(self) -> float: ...
    def is_to_stop(self) -> bool: ...


class Job:
    """The job that a handler runs.

    id: the job's UUID. type, queue: names. payload: what was submitted, less `type` (dict).
    data: what the type's schema has made of the payload; without a schema, the payload.
    attempt: number of this execution, from 1. max_attempts: how many there may be.
    idempotency_key: the same on every attempt; pass it on to what has effects outside PostgreSQL.
    log: a logger whose lines carry the job's id, type, queue and attempt beside what `extra` gives.
    """

    __slots__ = ("_execution", "attempt", "data", "id", "lease", "max_attempts", "payload", "queue", "type")

    def __init__(
        self,
        *,
        id: str,
        type: str,
        queue: str,
        payload: dict[str, Any],
        attempt: int,
        max_attempts: int,
        lease: str,
        execution: Execution,
    ) -> None:
        self.id = id
        self.type = type
        self.queue = queue
        self.payload = payload
        self.data: Any = payload
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.lease = lease
        self._execution = execution

    @property
    def idempotency_key(self) -> str:
        return self.id

    @property
    def log(self) -> JobLogger:
        return JobLogger({"job_id": self.id, "type": self.type, "queue": self.queue, "attempt": self.attempt})

    def remaining_s(self) -> float:
        """Seconds until the job's time is over and `JobTimeout` is raised; 0 when it is. A drain may end before."""
        return max(0.0, self._execution.left_s())

    def should_stop(self) -> bool:
        """True once the worker drains or wants this process gone, the job is cancelled, or its time is over.

        A long handler asks now and then: it saves what it has and raises `Retry(after_s=0)`, which spends an attempt;
        one that goes on has until the drain's end (TASKHUB_DRAIN_S), and is interrupted then, which spends none.
        """
        return self._execution.is_to_stop()

    def transaction(self) -> AbstractContextManager[Any]:
        """`with job.transaction() as cursor:` runs the handler's SQL in the transaction that completes the job.

        Both happen or neither, also when the commit's answer is lost. `cursor.execute(sql, arguments)`,
        `fetchone()`, `fetchall()`. The job is completed with a null result when the block ends well; what
        the handler returns or raises afterwards changes nothing. An exception inside, or a commit that
        PostgreSQL refuses, rolls back and counts as usual; the block may be entered again. The session is a
        fresh one. A lost connection interrupts the job, which is not an attempt.

        Raises LeaseLostError if the job is no longer this worker's, TransactionStateError if it is used
        twice, nested, or outside of the handler's thread.
        """
        return self._execution.transaction_of(self)

    def complete(self, cursor: Any) -> None:
        """Complete the job in a transaction of the handler's own: `cursor` is one of psycopg2 or psycopg 3, on the
        database and the search path of TASKHUB_DATABASE_URL. Commit (or roll back) before the handler returns.

        If that commit succeeds, the job is completed with a null result; if not, the job ends as the
        handler does. Raises LeaseLostError, TransactionStateError.
        """
        self._execution.transaction_of(self).complete(cursor)
