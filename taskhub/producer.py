"""Submit jobs from Python, straight into PostgreSQL: no HTTP between.

The same checks and the same commit as behind POST /jobs. A type need not be registered in this process;
if it is, its schema and its defaults hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from taskhub.broker.opening import open_broker
from taskhub.domain import strict_json
from taskhub.domain.asked import plain_options, typed_payload
from taskhub.domain.errors import JobRefusedError
from taskhub.domain.job import TERMINAL
from taskhub.domain.job_request import JobRequest, read_job_request
from taskhub.domain.job_view import job_view
from taskhub.domain.new_job import REFUSED, NewJob
from taskhub.handlers.registry import registry
from taskhub.services.queries.jobs import get_job, wait_for_end
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.submitter import Submitter
from taskhub.services.submission.validation import Validator
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.opening import open_store
from taskhub.store.pool import ConnectionPool

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK = 1_000


class _Connections(NamedTuple):
    """What one process submits and reads with."""

    store: ConnectionPool
    submitter: Submitter


class Producer:
    """Submits jobs; for all threads of a process. One that was used before a fork reconnects in the child.

    database_url, redis_url: None takes TASKHUB_DATABASE_URL and TASKHUB_REDIS_URL.
    Options of a submission are those of POST /jobs: queue, priority, max_attempts, timeout_s, delay_s,
    run_at, expires_at, unique_key, tags. In options and payloads a datetime stands for its text, a timedelta for its
    seconds, UUIDs and Decimals for their texts, an enum for its value, a dataclass for its fields.
    """

    def __init__(self, database_url: str | None = None, redis_url: str | None = None) -> None:
        settings = Settings.load(given={"database_url": database_url, "redis_url": redis_url})
        settings.server_urls()  # now, and not with the first job, it is said that one is missing
        timers = settings.timers

        def connect(lock_s: float, statement_s: float | None = None) -> Connection:
            return open_store(settings, "taskhub producer", statement_s=statement_s, lock_s=lock_s)

        def connections() -> _Connections:
            store = ConnectionPool(lambda: connect(timers.pg_lock_s), 4, wait_s=timers.pg_connect_s)
            broker = open_broker(settings, timeout_s=timers.redis_api_s)
            return _Connections(store, Submitter(connect, Doorbell(broker)))

        self._make_connections = connections
        self._by_process: dict[int, _Connections] = {}
        self._validator = Validator(
            registry,
            max_attempts=settings.max_attempts,
            max_payload_bytes=settings.max_body_bytes,
            must_know=False,
            encode=strict_json.encode_foreign,
        )

    def submit(self, type: str, payload: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Commit one job and return its id; the holder's id if `unique_key` is held.

        Raises InvalidInputError; StoreUnavailableError, after which the job may or may not be there.
        """
        return self._commit([self._validator.validate(_job_request(type, payload or {}, options))])[0]

    def submit_many(self, jobs: Iterable[tuple[str, Mapping[str, Any]]], **options: Any) -> list[str]:
        """Commit many jobs with the same options, 1,000 in a transaction; returns their ids in order.

        Raises as `submit`; then chunks before the failing one are committed.
        """
        model = _job_request("any", {}, options)
        waiting, submitted = iter(jobs), list[str]()
        while chunk := list(islice(waiting, _CHUNK)):
            for type in {type for type, _ in chunk}:
                _job_request(type, {}, {})
            requests = [JobRequest(typed_payload(type, payload), type, *model[2:]) for type, payload in chunk]
            submitted += self._commit(self._validator.validate_all(requests, first=len(submitted)))
        return submitted

    def wait(self, job_id: str, timeout_s: float) -> dict[str, Any]:
        """The job once it has ended, as GET /jobs/<id> shows it; or as it is after `timeout_s`.

        Raises JobNotFoundError, StoreUnavailableError.
        """
        store = self._own().store
        row = get_job(store, job_id)
        if row.status not in TERMINAL:
            row = wait_for_end(store, row.id, timeout_s)
        return job_view(row, orjson.loads)

    def close(self) -> None:
        """Leave the connections, those in use when their call has ended. If it is used again, it connects again."""
        store, submitter = self._own()
        submitter.close()
        store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _commit(self, new_jobs: list[NewJob]) -> list[str]:
        results = self._own().submitter.submit(new_jobs)
        refusals = [each.text for each in results if each.kind in REFUSED]
        if refusals:
            raise JobRefusedError(refusals[0])
        return [each.id for each in results]

    def _own(self) -> _Connections:
        """This process's. Those of a parent are neither used, closed nor forgotten: sockets and locks are shared."""
        found = self._by_process.get(os.getpid())
        return found or self._by_process.setdefault(os.getpid(), self._make_connections())


def _job_request(type: str, payload: Mapping[str, Any], options: Mapping[str, Any]) -> JobRequest:
    """The same checks as a client's JSON gets; the payload's own are made where it is encoded."""
    return read_job_request({"payload": typed_payload(type, payload), **plain_options(options)})
