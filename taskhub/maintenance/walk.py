"""The walk over fresh rows of all queues, as PostgreSQL keeps it: whose turn it is, what was read, what is noted.

Invariants:
- Nothing below the mark is queued with run_at NULL, unless its place (a queue and a priority) lags: then nothing of the
  place is, below its own mark.
- Only who took the last turn writes. A reading may be done by anybody.
"""

from __future__ import annotations

from typing import NamedTuple

from taskhub import clock
from taskhub.broker.broker import Place
from taskhub.settings.timers import Timers
from taskhub.store.connection import Store
from taskhub.store.statements import number_array, text_array, uuid_array

ROWS = 5_000  # of one reading

_ACTIVE_S = 15.0
_NEWEST = 1_000
_PLACES = 2_000
_STUCK_S = 10.0  # a turn that nobody could take for so long is kept locked by somebody


class Turn(NamedTuple):
    """number: None if the turn is kept from everybody; then the walk is done without writing anything down."""

    number: int | None
    mark: str
    seen: str
    late_from: str
    was_set_back: bool = False  # the clock, since the turn before


class WaitingRow(NamedTuple):
    """A fresh row that is still queued; is_late: it ran out before its first start."""

    id: str
    place: Place
    is_late: bool


class Reading(NamedTuple):
    """What was found up to `last`; is_end: there was no more. horizon: see walk_jobs."""

    last: str
    is_end: bool
    rows: int
    horizon: str | None
    queues: list[str]
    waiting: list[WaitingRow]


class Walk:
    """One worker's hand on the walk."""

    def __init__(self, store: Store, timers: Timers) -> None:
        self._store = store
        self._timers = timers
        self._taken_s = clock.monotonic_s()

    def take(self) -> Turn | None:
        """The turn, if it is this worker's."""
        now_s = clock.monotonic_s()
        rows = self._store.run("take_walk", self._timers.reconcile_s * 0.9, self._timers.mark_lag_s)
        if rows:
            self._taken_s = now_s
            return Turn(*rows[0])
        if now_s - self._taken_s < _STUCK_S:
            return None
        self._taken_s = now_s
        [(age_s, *where)] = self._store.run("walk_age")
        return None if 0 <= age_s < _STUCK_S else Turn(None, *where)

    def places(self) -> tuple[dict[Place, str], dict[str, int], set[str]]:
        """The marks of the places that lag, the epochs of the queues that were in use lately, and those in use now."""
        rows = self._store.run("walked_places", _ACTIVE_S, _NEWEST, _PLACES)
        lagging = {(queue, priority): mark for queue, priority, mark, *_ in rows if mark is not None}
        epochs = {queue: epoch for queue, _, mark, epoch, _ in rows if mark is None}
        return lagging, epochs, {queue for queue, _, mark, _, is_new in rows if mark is None and is_new}

    def read(self, since: str, before: str | None, slack_s: float) -> Reading:
        """At most ROWS rows from an id on."""
        [(last, _, count, horizon, queues, _), *rows] = self._store.run("walk_jobs", since, before, slack_s, ROWS)
        waiting = [WaitingRow(job_id, (queue, priority), late) for job_id, queue, priority, _, _, late in rows]
        return Reading(last, count < ROWS, count, horizon, queues, waiting)

    def note(self, turn: Turn, seen: str, mark: str | None, horizon: str | None, behind: dict[Place, str]) -> None:
        """Write down how far was read, and the places in which something waits."""
        if turn.number is not None:
            self._store.run("note_walk", turn.number, seen, mark, horizon, self._timers.mark_lag_s, *_arrays(behind))

    def move(self, turn: Turn, marks: dict[Place, str | None]) -> None:
        """Move places' own marks; None: the place does not lag any more."""
        if turn.number is not None and marks:
            self._store.run("move_lagging", turn.number, *_arrays(marks))

    def raise_epochs(self, epochs: dict[str, int], in_use: set[str]) -> None:
        """Remember the epochs, and which queues are in use."""
        if epochs:
            names = sorted(epochs)
            numbers = number_array([epochs[name] for name in names])
            self._store.run("raise_epochs", text_array([*names]), numbers, text_array([*in_use]))


def _arrays(marks: dict[Place, str] | dict[Place, str | None]) -> tuple[str, str, str]:
    places = list(marks)
    return (
        text_array([queue for queue, _ in places]),
        number_array([priority for _, priority in places]),
        uuid_array([marks[place] or "NULL" for place in places]),
    )
