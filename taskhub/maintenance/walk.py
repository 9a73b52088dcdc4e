"""The walk over fresh rows of all queues, as PostgreSQL keeps it: whose turn it is, what was read, what is noted.

Invariants:
- Nothing below the mark is queued with run_at NULL, unless its place (a queue and a priority) lags: then nothing of the
  place is, below its own mark.
- Only who took the last turn writes. A reading may be done by anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskhub import clock
from taskhub.broker.broker import Place
from taskhub.logs import get_logger
from taskhub.settings.timers import Timers
from taskhub.store.connection import Store
from taskhub.store.queues import raise_epochs
from taskhub.store.walk import (
    FreshRow,
    Turn,
    begin_walk,
    move_lagging,
    note_walk,
    take_walk,
    walk_age,
    walk_jobs,
    walked_places,
)

log = get_logger(__name__)

ROWS = 5_000  # of one reading

_ACTIVE_S = 15.0
_NEWEST = 1_000
_PLACES = 2_000
_STUCK_S = 10.0  # a turn that nobody could take for so long is kept locked by somebody


@dataclass(frozen=True)
class Reading:
    """What was found up to `last`; is_end: there was no more. horizon: see walk_jobs."""

    last: str
    is_end: bool
    rows: int
    horizon: str | None
    queues: list[str]
    waiting: list[FreshRow]


class Walk:
    """One worker's hand on the walk."""

    def __init__(self, store: Store, timers: Timers) -> None:
        self._store = store
        self._timers = timers
        self._taken_s = clock.monotonic_s()

    def take(self) -> Turn | None:
        """The turn, if it is this worker's; one that is kept from everybody has no number."""
        now_s = clock.monotonic_s()
        turn = take_walk(self._store, self._timers.reconcile_s * 0.9, self._timers.mark_lag_s)
        if turn is None and now_s - self._taken_s < _STUCK_S:
            return None
        self._taken_s = now_s
        if turn is not None:
            return turn
        last = walk_age(self._store)
        if last is None:
            log.warning("walk.restarted", extra={"text": "somebody has emptied the table walk; all rows are walked"})
            begin_walk(self._store)
            return None
        if 0 <= last.age_s < _STUCK_S:
            return None
        return Turn(None, last.mark, last.seen, last.late_from, was_set_back=False)

    def places(self) -> tuple[dict[Place, str], dict[str, int], set[str]]:
        """The marks of the places that lag, the epochs of the queues that were in use lately, and those in use now."""
        rows = walked_places(self._store, _ACTIVE_S, _NEWEST, _PLACES)
        lagging = {(row.queue, row.priority): row.mark for row in rows if row.priority is not None and row.mark}
        epochs = {row.queue: row.epoch for row in rows if row.epoch is not None}
        return lagging, epochs, {row.queue for row in rows if row.epoch is not None and row.is_new}

    def read(self, since: str, before: str | None, slack_s: float) -> Reading:
        """At most ROWS rows from an id on."""
        to, waiting = walk_jobs(self._store, since, before, slack_s, ROWS)
        return Reading(to.last, to.read < ROWS, to.read, to.horizon, to.queues, waiting)

    def note(self, turn: Turn, seen: str, mark: str | None, horizon: str | None, behind: dict[Place, str]) -> None:
        """Write down how far was read, and the places in which something waits."""
        if turn.number is not None:
            note_walk(self._store, turn.number, seen, mark, horizon, self._timers.mark_lag_s, behind)

    def move(self, turn: Turn, marks: dict[Place, str | None]) -> None:
        """Move places' own marks; None: the place does not lag any more."""
        if turn.number is not None and marks:
            move_lagging(self._store, turn.number, marks)

    def raise_epochs(self, epochs: dict[str, int], in_use: set[str]) -> None:
        """Remember the epochs, and which queues are in use."""
        if epochs:
            names = sorted(epochs)
            raise_epochs(self._store, names, [epochs[name] for name in names], list(in_use))
