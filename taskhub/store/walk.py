"""The walk over fresh rows of all queues: whose turn it is, what is read, and what is noted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import number_array, text_array


class Turn(NamedTuple):
    """A turn of walking, and where it begins; number None: the turn is kept from everybody, and nothing is noted.

    was_set_back: the clock, since the turn before.
    """

    number: int | None
    mark: str
    seen: str
    late_from: str
    was_set_back: bool


class LastTurn(NamedTuple):
    """How long ago the last turn was taken, and where the walk stands."""

    age_s: float
    mark: str
    seen: str
    late_from: str


class WalkedPlace(NamedTuple):
    """A place behind the walk (mark), or (epoch) a queue that was in use lately; is_new: something waits or is new."""

    queue: str
    priority: int | None
    mark: str | None
    epoch: int | None
    is_new: bool


class WalkedTo(NamedTuple):
    """How far a reading came, how many rows it met, of which queues, and its horizon."""

    last: str
    read: int
    horizon: str | None
    queues: list[str]


class FreshRow(NamedTuple):
    """A row that is still queued; is_late: it ran out before its first start."""

    id: str
    queue: str
    priority: int
    is_late: bool

    @property
    def place(self) -> tuple[str, int]:
        return self.queue, self.priority


class PlaceArrays(NamedTuple):
    """Places with their marks, as arrays of one length."""

    queues: str
    priorities: str
    marks: str


def take_walk(store: Store, every_s: float, lag_s: float) -> Turn | None:
    """Take the turn, if it is due and nobody else's: of all workers, one at a time walks."""
    rows = store.run("take_walk", every_s, lag_s)
    return Turn._make(rows[0]) if rows else None


def walk_age(store: Store) -> LastTurn | None:
    """When the last turn was taken: for a turn that somebody keeps locked. None: the walk is gone."""
    rows = store.run("walk_age")
    return LastTurn._make(rows[0]) if rows else None


def begin_walk(store: Store) -> None:
    """Begin the walk again, if it is gone."""
    store.run("begin_walk")


def walked_places(store: Store, active_s: float, newest: int, amount: int) -> list[WalkedPlace]:
    """What the walk looks after now."""
    return [WalkedPlace._make(row) for row in store.run("walked_places", active_s, newest, amount)]


def walk_jobs(
    store: Store, since: str, before: str | None, slack_s: float, amount: int
) -> tuple[WalkedTo, list[FreshRow]]:
    """Which fresh rows of any queue are still queued, from an id on."""
    [first, *rows] = store.run("walk_jobs", since, before, slack_s, amount)
    return WalkedTo._make(first[:4]), [FreshRow._make(row[4:]) for row in rows]


def note_walk(
    store: Store,
    turn: int,
    seen: str,
    mark: str | None,
    horizon: str | None,
    lag_s: float,
    behind: Mapping[tuple[str, int], str | None],
) -> None:
    """Write down the places that lag, then how far was seen, and the mark; nothing if the turn is another's."""
    places = _place_arrays(behind)
    store.run("note_walk", turn, seen, mark, horizon, lag_s, *places)


def move_lagging(store: Store, turn: int, marks: Mapping[tuple[str, int], str | None]) -> None:
    """Move the marks of places that lag; a mark of None: nothing waits there any more."""
    places = _place_arrays(marks)
    store.run("move_lagging", turn, *places)


def _place_arrays(marks: Mapping[tuple[str, int], str | None]) -> PlaceArrays:
    return PlaceArrays(
        text_array([queue for queue, _ in marks]),
        number_array([priority for _, priority in marks]),
        text_array(list(marks.values())),
    )
