"""Which waiting rows Redis cannot hold any more, for one pass of the reconciler; and their pushing.

While Redis is away nothing is pushed and nothing counts as lost; the walk goes on, so that claims from PostgreSQL begin
near the front.
"""

from __future__ import annotations

from taskhub import ids
from taskhub.broker.broker import Broker, Place
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.logs import get_logger
from taskhub.metrics import definitions as metrics
from taskhub.services.recovery.expiry import fail_expired
from taskhub.store.connection import Store
from taskhub.store.walk import FreshRow

log = get_logger(__name__)

_WINDOW = 20_000  # of lost rows of one place in Redis: more would only fill it
_STEPS = 5  # an epoch of Redis so far ahead of PostgreSQL's: the database was set back


class LostPushes:
    """`epochs`: those of the queues in use, as PostgreSQL knows them; `places`: those that lag."""

    def __init__(
        self, store: Store, broker: Broker, slack_s: float, epochs: dict[str, int], places: list[Place]
    ) -> None:
        self._store = store
        self._broker = broker
        self._slack_ms = slack_s * 1000
        self._epochs = epochs
        self._known: dict[str, int | None] = {}
        self._tails: dict[Place, str | None] = {}
        self._full: set[Place] = set()
        self.is_away = False
        self.forgotten: set[str] = set()
        try:
            self._known = broker.epochs(list(epochs))
            self._look_at(places)
        except BrokerUnavailableError:
            self.is_away = True
            return
        self.forgotten = {queue for queue, epoch in epochs.items() if epoch > 0 and self._has_forgotten(queue, epoch)}
        for queue in self.forgotten:
            log.warning("redis.forgot", extra={"queue": queue, "text": "ids were missing; pushed again"})

    def may_be_behind(self, place: Place, job_id: str) -> bool:
        """True if rows of the place from this id on may be missing in Redis, and there is room for them."""
        return self.is_away or (place not in self._full and self._is_lost(place, job_id))

    def push(self, waiting: list[FreshRow]) -> dict[Place, str]:
        """Push what is lost, ring for the rest, fail what ran out; returns the first row that waits of each place."""
        late = [row.id for row in waiting if row.is_late]
        if late:
            fail_expired(self._store, late)
        in_time = [row for row in waiting if not row.is_late]
        firsts = {row.place: row.id for row in reversed(in_time)}
        if firsts and not self.is_away:
            try:
                self._push(in_time, [place for place in firsts if place not in self._tails])
            except BrokerUnavailableError:
                self.is_away = True
        return firsts

    def raise_epochs(self, met: set[str], *, walked_to_now: bool) -> dict[str, int]:
        """Raise the epochs of the queues in use, in Redis first: the other order would look like forgetting.

        Not of a queue that was forgotten until a walk has come to now. Returns what PostgreSQL is to remember.
        """
        queues = met | set(self._epochs)
        if self.is_away:
            return dict.fromkeys(queues, 0)
        if not walked_to_now:
            queues -= self.forgotten
        raised = {queue: max(self._known.get(queue) or 0, self._epochs.get(queue, 0)) + 1 for queue in queues}
        try:
            self._broker.set_epochs(raised)
        except BrokerUnavailableError:
            self.is_away = True
            return dict.fromkeys(queues, 0)
        return raised

    def _has_forgotten(self, queue: str, epoch: int) -> bool:
        known = self._known.get(queue, epoch)  # a key that holds something else tells nothing
        return known is None or not epoch <= known <= epoch + _STEPS

    def _is_lost(self, place: Place, job_id: str) -> bool:
        """A list is first in first out: what is older than its tail is not in it any more."""
        tail = self._tails.get(place)
        return tail is None or place[0] in self.forgotten or ids.millis(job_id) < ids.millis(tail) - self._slack_ms

    def _push(self, waiting: list[FreshRow], unknown: list[Place]) -> None:
        self._look_at(unknown)
        lost: dict[Place, list[tuple[float, str]]] = {}
        for row in waiting:
            if self._is_lost(row.place, row.id):
                # The time inside the id is when the job was submitted: its place among the others that are due.
                lost.setdefault(row.place, []).append((ids.millis(row.id) / 1000.0, row.id))
        sizes = self._broker.again_sizes(list(lost))
        self._full.update(place for place in lost if sizes.get(place, _WINDOW) >= _WINDOW)
        for place, added in self._broker.push_again_all(
            {place: rows for place, rows in lost.items() if place not in self._full}
        ).items():
            if added:
                metrics.RECONCILED.labels(place[0]).inc(added)
                text = f"{added} jobs whose push was lost are pushed again"
                fields = {"queue": place[0], "priority": place[1], "count": added, "text": text}
                log.info("jobs.reconciled", extra=fields)

    def _look_at(self, places: list[Place]) -> None:
        tails = self._broker.tails(places)
        self._tails.update({place: tail if tail and ids.is_id(tail) else None for place, tail in tails.items()})
        self._full.update(set(places) - set(tails))  # their keys hold something else: nothing can be pushed there
