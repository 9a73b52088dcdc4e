"""Push rows whose time has come: retries, releases, rescues, delayed and SQL-submitted jobs.

Pushing is idempotent (a sorted set), so a row that is due and not yet claimed may be pushed at every pass, by
every worker. What has run out before its first start is not pushed: it fails.
"""

from __future__ import annotations

from itertools import groupby

from taskhub.broker.broker import Broker
from taskhub.maintenance.expiry import fail_late
from taskhub.roles.isolation import Isolation
from taskhub.store.connection import Row, Store
from taskhub.store.statements import number_array, text_array

_PLACES = 256  # a place is a queue with a priority
_WINDOW = 5_000  # more than this of one place need not lie in Redis at once
_ROWS = 10_000
_FIRST = ("", -1)


class Dispatcher:
    def __init__(self, store: Store, broker: Broker, isolation: Isolation) -> None:
        self._store = store
        self._broker = broker
        self._isolation = isolation
        self._after = _FIRST

    def step(self) -> None:
        """Push what is due, oldest first, going round over the places that have anything scheduled.

        Raises UnavailableError; children claim from PostgreSQL meanwhile.
        """
        rows = self._store.run("due_jobs", *self._after, _PLACES, _WINDOW, _ROWS)
        is_whole = len({row[:2] for row in rows}) < _PLACES and len(rows) < _ROWS
        after, self._after = (_FIRST if is_whole else (rows[-1][0], rows[-1][1])), _FIRST
        late = [row[2] for row in rows if row[4]]
        if late:
            fail_late(self._store, late)
        due = sorted((row for row in rows if row[2] and not row[4]), key=lambda row: row[:2])
        groups = [(place, list(group)) for place, group in groupby(due, key=lambda row: (row[0], row[1]))]
        if names := sorted({queue for (queue, _), _ in groups}):  # so that workers that serve all listen there
            self._store.run("raise_epochs", text_array([*names]), number_array([0] * len(names)), text_array([*names]))
        self._isolation.each(groups, lambda group: group[0], lambda group: self._push(*group[0], group[1]))
        self._after = after

    def _push(self, queue: str, priority: int, rows: list[Row]) -> None:
        self._broker.push_again(queue, priority, [(row[3], row[2]) for row in rows])
