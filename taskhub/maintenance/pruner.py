"""Forget jobs, their history, keys and queues whose time of keeping is over.

Invariants:
- Small statements, back to back while there is work, for at most as long as the pause after them: pruning keeps up
  with what comes in and never takes more than half of one session.
- Each walk goes on where it stood. From its beginning it goes once a round: that finds what it passed by while it was
  not finished yet, and reads again what is to be kept.
- Nothing is forgotten by a clock that has jumped: PostgreSQL's is compared with this host's since the first pass.
"""

from __future__ import annotations

from collections.abc import Callable

from taskhub import clock
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.logs import get_logger
from taskhub.settings.fields import Settings
from taskhub.store.cancellations import prune_cancellations
from taskhub.store.connection import Store
from taskhub.store.jobs import prune_completed, prune_dead
from taskhub.store.keys import prune_idempotency_keys, prune_unique_keys
from taskhub.store.queues import delete_queues
from taskhub.store.server import server_clock

log = get_logger(__name__)

_ROWS = 1_000
_WORK_S = 0.25
_PAUSE_S = 10.0
_ROUND_S = 3_600.0
_JUMP_S = 3_600.0
_BELIEVED_S = 86_400.0
_QUEUE_IDLE_S = 3_600.0
_NIL = "00000000-0000-0000-0000-000000000000"


class Pruner:
    """`step` may be called often: it looks at the clock first."""

    def __init__(self, store: Store, broker: Broker, settings: Settings) -> None:
        self._store = store
        self._broker = broker
        self._settings = settings
        self._due_s = 0.0
        self._offset_s: float | None = None
        self._jumped_at_s: float | None = None
        self._begin_round()

    def step(self) -> None:
        """Work for a short while, if it is time to."""
        began_s = clock.monotonic_s()
        if began_s < self._due_s or self._clock_has_jumped():
            return
        if began_s >= self._round_ends_s:
            self._begin_round()
        walks = self._walks()
        while walks and clock.monotonic_s() - began_s < _WORK_S:
            walks = [walk for walk in walks if walk()]
        ended_s = clock.monotonic_s()
        self._due_s = ended_s + (ended_s - began_s if walks else _PAUSE_S)

    def _begin_round(self) -> None:
        self._completed = self._cancelled = _NIL
        self._unique = ""
        self._idempotency, self._skip = "-infinity", 0
        self._round_ends_s = clock.monotonic_s() + _ROUND_S

    def _walks(self) -> list[Callable[[], bool]]:
        """Each does one bounded statement; True: there is more."""
        walks = [self._prune_unique_keys, self._prune_idempotency_keys, self._prune_cancellations, self._delete_queues]
        if self._settings.retention_s:
            walks.append(self._prune_completed)
        if self._settings.dead_retention_s:
            walks.append(self._prune_dead)
        return walks

    def _prune_completed(self) -> bool:
        pruned = prune_completed(self._store, self._completed, self._settings.retention_s, _ROWS)
        self._completed = pruned.last or self._completed
        _tell(pruned.gone)
        return pruned.read == _ROWS

    def _prune_dead(self) -> bool:
        pruned = prune_dead(self._store, self._settings.dead_retention_s, _ROWS)
        _tell(pruned.gone)
        return pruned.read == _ROWS and pruned.gone > 0

    def _prune_unique_keys(self) -> bool:
        pruned = prune_unique_keys(self._store, self._unique, _ROWS)
        has_more = pruned.read == _ROWS
        self._unique = (pruned.last if has_more else None) or ""
        return has_more

    def _prune_idempotency_keys(self) -> bool:
        pruned = prune_idempotency_keys(self._store, self._idempotency, self._skip, _ROWS)
        if pruned.last is not None:
            self._skip = pruned.same + (self._skip if pruned.last == self._idempotency else 0)
            self._idempotency = pruned.last
        return pruned.read == _ROWS

    def _prune_cancellations(self) -> bool:
        pruned = prune_cancellations(self._store, self._cancelled, _ROWS)
        has_more = pruned.read == _ROWS
        self._cancelled = (pruned.last if has_more else None) or _NIL
        return has_more

    def _delete_queues(self) -> bool:
        gone = delete_queues(self._store, _QUEUE_IDLE_S, _ROWS)
        try:
            self._broker.delete_queues(gone)
        except BrokerUnavailableError:
            log.debug("queues.remembered", extra={"count": len(gone), "text": "their keys stay in Redis"})
        return len(gone) == _ROWS

    def _clock_has_jumped(self) -> bool:
        """A clock that is an hour off what it was would make everything old. After a day it is believed."""
        server_s = server_clock(self._store).now_s
        now_s, offset_s = clock.monotonic_s(), server_s - clock.boottime_s()
        is_old_news = self._jumped_at_s is not None and now_s - self._jumped_at_s > _BELIEVED_S
        if self._offset_s is None or is_old_news:
            self._offset_s = offset_s
        if abs(offset_s - self._offset_s) <= _JUMP_S:
            self._jumped_at_s = None
            return False
        if self._jumped_at_s is None:
            self._jumped_at_s = now_s
            text = "PostgreSQL's clock has jumped by over an hour: nothing is forgotten until it is back, or for a day"
            log.error("retention.stopped", extra={"text": text})
        return True


def _tell(count: int) -> None:
    if count:
        log.debug("jobs.pruned", extra={"count": count, "text": f"{count} old jobs are forgotten"})
