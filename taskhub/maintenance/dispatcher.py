"""Push rows whose time has come: retries, releases, rescues, delayed and SQL-submitted jobs.

It never writes PostgreSQL. Pushing is idempotent (a sorted set), so a row that is due and not yet
claimed may be pushed at every pass, by every worker.
"""

from __future__ import annotations

from itertools import groupby

from taskhub.maintenance.isolation import Isolation
from taskhub.queue.broker import Broker
from taskhub.store.connection import Row, Store

_WINDOW = 5_000  # more than this of one queue and priority need not lie in Redis at once


class Dispatcher:
    def __init__(self, store: Store, broker: Broker, isolation: Isolation) -> None:
        self._store = store
        self._broker = broker
        self._isolation = isolation

    def step(self) -> None:
        """Push what is due, oldest first. Raises UnavailableError; children claim from PostgreSQL meanwhile."""
        rows = self._store.run("due_jobs", _WINDOW)
        groups = [(place, list(due)) for place, due in groupby(rows, key=lambda row: (row[0], row[1]))]
        self._isolation.each(groups, lambda group: group[0], lambda group: self._push(*group[0], group[1]))

    def _push(self, queue: str, priority: int, rows: list[Row]) -> None:
        self._broker.push_again(queue, priority, [(row[3], row[2]) for row in rows])
