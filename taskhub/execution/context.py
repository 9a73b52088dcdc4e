"""What a handler gets: the job that it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from taskhub.logs import JobLogger


class TransactionMaker(Protocol):
    """Opens the transaction that completes the job together with the handler's own writes."""

    def __call__(self, job: Job) -> AbstractContextManager[Any]: ...


class Job:
    """The job that a handler runs.

    id: the job's UUID. type, queue: names. payload: what was submitted, less `type` (dict).
    attempt: number of this execution, from 1. max_attempts: how many there may be.
    idempotency_key: the same on every attempt; pass it on to what has effects outside PostgreSQL.
    log: a logger whose lines carry the job's id, type, queue and attempt beside what `extra` gives.
    """

    __slots__ = ("_transaction", "attempt", "id", "lease", "max_attempts", "payload", "queue", "type")

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
        transaction: TransactionMaker,
    ) -> None:
        self.id = id
        self.type = type
        self.queue = queue
        self.payload = payload
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.lease = lease
        self._transaction = transaction

    @property
    def idempotency_key(self) -> str:
        return self.id

    @property
    def log(self) -> JobLogger:
        return JobLogger({"job_id": self.id, "type": self.type, "queue": self.queue, "attempt": self.attempt})

    def transaction(self) -> AbstractContextManager[Any]:
        """`with job.transaction() as cursor:` runs the handler's SQL in the transaction that completes the job.

        Both happen or neither, also when the commit's answer is lost. `cursor.execute(sql, arguments)`,
        `fetchone()`, `fetchall()`. The job is completed with a null result when the block ends well; what
        the handler returns afterwards is not stored. An exception inside rolls back and counts as usual.
        Raises LeaseLostError if the job is no longer this worker's.
        """
        return self._transaction(self)
