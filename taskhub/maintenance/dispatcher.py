"""Push rows whose time has come: retries, releases, rescues, delayed and SQL-submitted jobs.

It never writes PostgreSQL. Pushing is idempotent (a sorted set), so a row that is due and not yet
claimed may be pushed at every pass, by every worker.
"""

from __future__ import annotations

from itertools import groupby

from taskhub.domain.errors import QueueUnavailableError
from taskhub.queue.broker import Broker
from taskhub.store.connection import Connection

_WINDOW = 5_000  # more than this of one queue and priority need not lie in Redis at once


class Dispatcher:
    def __init__(self, store: Connection, broker: Broker) -> None:
        self._store = store
        self._broker = broker

    def step(self) -> None:
        """Push what is due, oldest first."""
        rows = self._store.run("due_jobs", _WINDOW)
        for (queue, priority), group in groupby(rows, key=lambda row: (row[0], row[1])):
            due = [(row[3], row[2]) for row in group]
            try:
                self._broker.push_again(queue, priority, due)
            except QueueUnavailableError:
                return  # children claim these from PostgreSQL meanwhile
