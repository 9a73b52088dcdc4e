"""Fail jobs that were not started in time.

The index of `expires_at` keeps finished rows, so it is read on from where the last pass ended, and from its beginning
once an hour. A row that this passes by (it was inserted late, or given back) is met by the walk or the dispatcher.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.services.recovery.expiry import fail_expired
from taskhub.store.connection import Store
from taskhub.store.schedule import expiring_jobs

_ROWS = 1_000
_PASS_S = 0.25  # of work at a time: the rest at the next step
_ROUND_S = 3_600.0
_BEGINNING = "-infinity"


class Expirer:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._since, self._skip = _BEGINNING, 0
        self._round_ends_s = clock.monotonic_s() + _ROUND_S

    def step(self) -> None:
        """Read on, as long as there is more, for a short while."""
        now_s = clock.monotonic_s()
        if now_s >= self._round_ends_s:
            self._since, self._skip, self._round_ends_s = _BEGINNING, 0, now_s + _ROUND_S
        while self._read() == _ROWS and clock.monotonic_s() - now_s < _PASS_S:
            continue

    def _read(self) -> int:
        """One bounded reading; returns how many rows it met."""
        found = expiring_jobs(self._store, self._since, self._skip, _ROWS)
        if found.ids:
            fail_expired(self._store, found.ids)
        if found.last is not None:
            self._since, self._skip = found.last, found.same + (self._skip if found.last == self._since else 0)
        return found.read
