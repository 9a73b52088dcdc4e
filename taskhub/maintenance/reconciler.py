"""Find fresh rows whose push was lost, by walking new ids once; and notice that Redis has forgotten.

Per queue and priority, nothing below its mark is queued with run_at NULL. A list is first in first out,
so a row older than the id at the list's tail cannot be in it any more: if it is still queued, its push was
lost. A queue's epoch rises in Redis and PostgreSQL each second; one that is missing or lower in Redis
tells of a flush or a rewind, and then the walk goes to now.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskhub import ids
from taskhub.config import Timers
from taskhub.domain.errors import QueueUnavailableError
from taskhub.logs import get_logger
from taskhub.maintenance.isolation import Isolation
from taskhub.metrics import definitions as metrics
from taskhub.queue.broker import Broker
from taskhub.store.connection import Store

log = get_logger(__name__)

_ROWS = 5_000  # read per walk
_WALKS = 20  # per turn: so a mark that is far behind catches up fast
_WINDOW = 20_000  # of lost rows pushed per queue and priority at once: more would only fill Redis
_TURNS = 64


@dataclass
class _Walk:
    """Where one walk ended."""

    last: str
    rows: int
    horizon: str | None
    waiting: list[str]


class Reconciler:
    def __init__(self, store: Store, broker: Broker, timers: Timers, isolation: Isolation) -> None:
        self._store = store
        self._broker = broker
        self._timers = timers
        self._isolation = isolation

    def step(self) -> None:
        """Take the turns that are due and walk them; of all workers, one does each."""
        turns = self._store.run("take_turns", self._timers.reconcile_s * 0.9, _TURNS)
        by_queue: dict[str, tuple[int, list[int]]] = {}
        for queue, priority, epoch in turns:
            by_queue.setdefault(queue, (epoch, []))[1].append(priority)
        self._isolation.each(
            by_queue.items(),
            lambda item: item[0],
            lambda item: self._reconcile(item[0], item[1][0], sorted(item[1][1], reverse=True)),
        )

    def _reconcile(self, queue: str, epoch: int, priorities: list[int]) -> None:
        try:
            known = self._broker.epoch(queue)
            has_forgotten = epoch > 0 and (known is None or known < epoch)
            for priority in priorities:
                self._walk(queue, priority, self._broker.tail(queue, priority), has_forgotten)
        except QueueUnavailableError:
            for priority in priorities:  # marks go on, so that claims from PostgreSQL begin near the front
                self._walk(queue, priority, None, False, pushes=False)
            return
        if has_forgotten:
            log.warning("redis.forgot", extra={"queue": queue, "text": "ids were missing; pushed again"})
            # All priorities must be walked to now before the epoch says so; others' turns may be pending.
            for row in self._store.run("known_priorities"):
                if row[0] == queue and row[1] not in priorities:
                    self._walk(queue, row[1], None, True)
        raised = max(known or 0, epoch) + 1
        self._broker.set_epoch(queue, raised)  # first Redis: the other order would look like forgetting
        self._store.run("raise_epoch", queue, raised)

    def _walk(self, queue: str, priority: int, tail: str | None, lost: bool, *, pushes: bool = True) -> None:
        """Walk one mark forward, pushing what is still queued; moves the mark to the first such row."""
        tail = tail if tail and ids.is_id(tail) else None
        since: str | None = None
        horizon: str | None = None
        mark_moves = True
        for _ in range(_WALKS):
            walk = self._read(queue, priority, since, tail, lost)
            if since is None:  # later walks do not see what lies before them: their own horizon says too much
                horizon = walk.horizon
            if pushes and walk.waiting:
                self._push(queue, priority, walk.waiting)
            if mark_moves:
                first = walk.waiting[0] if walk.waiting else walk.last
                self._store.run("move_mark", queue, priority, first, horizon, self._timers.mark_lag_s)
            mark_moves = mark_moves and not walk.waiting
            since = walk.last
            if walk.rows < _ROWS or not (mark_moves or lost):
                return
            if pushes and self._broker.again_size(queue, priority) >= _WINDOW:
                return

    def _read(self, queue: str, priority: int, since: str | None, tail: str | None, lost: bool) -> _Walk:
        head, *rows = self._store.run(
            "walk_mark", queue, priority, since, tail, self._timers.reconcile_slack_s, lost, _ROWS
        )
        return _Walk(head[0], head[1], head[2], [row[0] for row in rows])

    def _push(self, queue: str, priority: int, waiting: list[str]) -> None:
        # The time inside the id is when the job was submitted: its place among the others that are due.
        due = [(int(job_id[:8] + job_id[9:13], 16) / 1000.0, job_id) for job_id in waiting]
        added = self._broker.push_again(queue, priority, due)
        if added:
            metrics.RECONCILED.labels(queue).inc(added)
            log.info("jobs.reconciled", extra={"queue": queue, "priority": priority, "count": added})
