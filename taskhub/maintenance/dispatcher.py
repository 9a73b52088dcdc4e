"""Push rows whose time has come: retries, releases, rescues, delayed and SQL-submitted jobs.

Pushing is idempotent (a sorted set), so a row that is due and not yet claimed may be pushed at every pass, by
every worker. What has run out before its first start is not pushed: it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from taskhub.broker.broker import Broker, Place
from taskhub.roles.isolation import Isolation
from taskhub.services.recovery.expiry import fail_expired
from taskhub.store.connection import Store
from taskhub.store.queues import raise_epochs
from taskhub.store.schedule import DueJob, due_jobs

_PLACES = 256  # a place is a queue with a priority
_WINDOW = 5_000  # more than this of one place need not lie in Redis at once
_ROWS = 10_000
_FIRST = ("", -1)
_PLACE: Callable[[DueJob], Place] = attrgetter("queue", "priority")


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
        rows = due_jobs(self._store, *self._after, _PLACES, _WINDOW, _ROWS)
        is_whole = len(set(map(_PLACE, rows))) < _PLACES and len(rows) < _ROWS
        after, self._after = (_FIRST if is_whole else _PLACE(rows[-1])), _FIRST
        late = [row.id for row in rows if row.id and row.is_late]
        if late:
            fail_expired(self._store, late)
        due = sorted((row for row in rows if row.id and not row.is_late), key=_PLACE)
        groups = [(place, list(group)) for place, group in groupby(due, key=_PLACE)]
        if names := sorted({queue for (queue, _), _ in groups}):  # so that workers that serve all listen there
            raise_epochs(self._store, names, [0] * len(names), names)
        self._isolation.each(groups, lambda group: group[0], lambda group: self._push(*group[0], group[1]))
        self._after = after

    def _push(self, queue: str, priority: int, rows: list[DueJob]) -> None:
        self._broker.push_again(queue, priority, [(row.due_s, row.id) for row in rows if row.id])
