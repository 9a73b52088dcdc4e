"""`job.transaction()`: the handler's own SQL and the job's completion in one commit.

Its connection is its own: an ordinary psycopg2 cursor with a transaction around it. When the commit's
answer is lost, the job is taken back from its own lease: that write waits for the commit in doubt, and
then either finds the job completed, or makes it impossible for the lost commit to complete it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from taskhub import clock, failpoints
from taskhub.domain.backoff import reconnect_delay_s
from taskhub.domain.errors import LeaseLostError, StoreUnavailableError
from taskhub.domain.job import COMPLETED
from taskhub.execution.context import Job, TransactionMaker
from taskhub.store.connection import Connection
from taskhub.store.statements import uuid_array
from taskhub.store.transaction import Transaction

_ASKS = 8


def transactions(database_url: str, store: Connection) -> TransactionMaker:
    """A maker of transactions for one child; `store` is only used to settle a commit in doubt."""
    own = Transaction(database_url)

    def make(job: Job) -> AbstractContextManager[Any]:
        return _transaction(own, store, job)

    return make


@contextmanager
def _transaction(own: Transaction, store: Connection, job: Job) -> Iterator[Any]:
    cursor = own.begin()
    try:
        yield cursor
    except BaseException:
        own.rollback()
        raise
    if not own.complete(job.id, job.lease):
        own.rollback()
        raise LeaseLostError(f"job {job.id} is no longer this worker's")
    failpoints.hit("worker.before_commit")
    try:
        own.commit()
    except StoreUnavailableError:
        if not _is_completed(store, job):
            raise


def _is_completed(store: Connection, job: Job) -> bool:
    """Whether the commit in doubt happened; if not, it never will, and the job is queued again."""
    for ask in range(_ASKS):
        try:
            if store.run("resolve_commit", job.id, job.lease):
                return False
            [(_, status, lease, *_)] = store.run("job_states", uuid_array([job.id]))
            return bool(status == COMPLETED and lease == job.lease)
        except StoreUnavailableError:
            if ask == _ASKS - 1:
                raise
            clock.sleep(reconnect_delay_s(ask + 1))
    return False
