"""Find fresh rows whose push was lost, by walking new ids of all queues once; and notice that Redis has forgotten.

A list is first in first out, so a row older than the id at the list's tail cannot be in it any more: if it is still
queued, its push was lost. A queue's epoch rises in Redis and PostgreSQL each second that the queue is in use; one
that is missing or out of step tells of a flush, or that either side was set back, and then the walk goes to now.

A pass has three parts, each bounded: new rows, from where the last pass ended; old rows, between the mark and those,
which only lag behind while somebody's transaction is open; and the places in which rows wait behind the walk.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.broker.broker import Broker, Place
from taskhub.maintenance.clock_set_back import ClockSetBack
from taskhub.maintenance.lost_pushes import LostPushes
from taskhub.maintenance.walk import Reading, Walk
from taskhub.settings.timers import Timers
from taskhub.store.connection import Store
from taskhub.store.walk import Turn

_NEW_READINGS, _OLD_READINGS, _LAGGING_READINGS = 20, 4, 20
_LATE_S = 3.0  # as often, rows that were late to commit are looked for among those that were read lately
_NOTE_S = 5.0  # without anything new, the walk is written down as often
_IDLE_S = 1.5  # and is left alone for as long
_AHEAD_S = -2.0  # slack of a walk after a loss: beyond now, for clocks a little ahead


class Reconciler:
    def __init__(self, store: Store, broker: Broker, timers: Timers) -> None:
        self._walk = Walk(store, timers)
        self._clock_set_back = ClockSetBack(store)
        self._store = store
        self._broker = broker
        self._slack_s = timers.reconcile_slack_s
        self._every_s = timers.reconcile_s
        self._round: str | None = None
        self._late_s = self._noted_s = self._idle_until_s = 0.0

    def step(self) -> None:
        """Walk, if it is this worker's turn; of all workers, one does."""
        self._clock_set_back.step()
        if clock.monotonic_s() < self._idle_until_s:
            return
        turn = self._walk.take()
        if turn is None:
            return
        if turn.was_set_back:
            self._clock_set_back.begin()
        lagging, epochs, in_use = self._walk.places()
        pushes = LostPushes(self._store, self._broker, self._slack_s, epochs, list(lagging))
        one_pass = _Pass(self._walk, turn, pushes, lagging)
        is_whole = self._new_rows(one_pass)
        self._old_rows(one_pass)
        _walk_lagging(one_pass)
        self._walk.raise_epochs(pushes.raise_epochs(one_pass.met, walked_to_now=is_whole), in_use | one_pass.met)
        if not (one_pass.met or lagging or epochs):
            self._idle_until_s = clock.monotonic_s() + min(_IDLE_S, 1.5 * self._every_s)

    def _new_rows(self, one: _Pass) -> bool:
        """From what was seen on; True if that came to the end."""
        now_s = clock.monotonic_s()
        turn = one.turn
        since, is_marked = turn.seen, False
        if now_s - self._late_s >= min(_LATE_S, 3 * self._every_s):
            self._late_s, since = now_s, turn.late_from
            is_marked = since == turn.mark  # then all from the mark on is read, and the mark may follow
        slack_s = _AHEAD_S if one.pushes.forgotten else self._slack_s
        horizon: str | None = None
        for number in range(_NEW_READINGS):
            reading = one.walk.read(since, None, slack_s)
            if number == 0:  # later readings do not see what lies before them: their own horizon says too much
                horizon = reading.horizon
            one.met.update(reading.queues)
            one.seen = since = reading.last
            self._note(one, reading, since if is_marked else None, horizon)
            if reading.is_end:
                return True
        return False

    def _old_rows(self, one: _Pass) -> None:
        """Between the mark and where late rows may be: on with the mark if it may move, else round and round."""
        mark, end = one.turn.mark, one.turn.late_from
        if mark >= end:
            return
        reading = one.walk.read(mark, end, 0)
        horizon = reading.horizon
        if horizon is None:  # somebody's transaction is open
            if self._round is not None and mark < self._round < end:
                reading = one.walk.read(self._round, end, 0)
            self._note(one, reading, None, None)
            self._round = None if reading.is_end else reading.last
            return
        for _ in range(_OLD_READINGS):
            self._note(one, reading, reading.last, horizon)
            if reading.is_end:
                return
            reading = one.walk.read(reading.last, end, 0)

    def _note(self, one: _Pass, reading: Reading, mark: str | None, horizon: str | None) -> None:
        """Push what is lost; write down what was found, if it is anything new."""
        behind = one.push(reading)
        now_s = clock.monotonic_s()
        if behind or reading.rows or now_s - self._noted_s >= min(_NOTE_S, self._every_s):
            one.walk.note(one.turn, one.seen, mark, horizon, behind)
            self._noted_s = now_s


class _Pass:
    """What one pass knows; `lagging`: the marks as they were at its beginning."""

    def __init__(self, walk: Walk, turn: Turn, pushes: LostPushes, lagging: dict[Place, str]) -> None:
        self.walk = walk
        self.turn = turn
        self.pushes = pushes
        self.lagging = lagging
        self.met: set[str] = set()
        self.seen = turn.seen

    def push(self, reading: Reading) -> dict[Place, str]:
        """Push what is lost of a reading; returns the places that wait and are not known to, with their first rows."""
        firsts = self.pushes.push(reading.waiting)
        return {place: first for place, first in firsts.items() if first < self.lagging.get(place, "~")}


def _walk_lagging(one: _Pass) -> None:
    """Places with rows behind the walk, those first that lag most; one reading serves all that it covers.

    A place leaves when nothing of it waits up to what this pass has seen.
    """
    left = sorted((mark, place) for place, mark in one.lagging.items() if one.pushes.may_be_behind(place, mark))
    pinned: set[Place] = set()  # their first waiting row was found: read on only for what is lost behind it
    for _ in range(_LAGGING_READINGS):
        if not left:
            return
        reading = one.walk.read(left[0][0], one.seen, 0)
        behind = one.push(reading)
        if behind:
            one.walk.note(one.turn, one.seen, None, None, behind)
        firsts = {row.place: row.id for row in reversed(reading.waiting)}
        moved: dict[Place, str | None] = {}
        onward = []
        for mark, place in left:
            if not reading.is_end and mark >= reading.last:
                onward.append((mark, place))
                continue
            if place not in pinned:
                moved[place] = firsts.get(place, None if reading.is_end else reading.last)
            if place in firsts:
                pinned.add(place)
            if not reading.is_end and one.pushes.may_be_behind(place, reading.last):
                onward.append((reading.last, place))
        one.walk.move(one.turn, moved)
        left = sorted(onward)
