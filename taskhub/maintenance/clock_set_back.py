"""After PostgreSQL's clock was set back: no retry, release or rescue waits until the clock is again where it was.

Invariants:
- Each such row was written at a moment that lies ahead now, so it tells how long it was to wait; it waits so long from
  now on. A time that a sender named is left as it is.
- Small statements, for a quarter of a second at a time; started again whenever the clock goes back once more.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.logs import get_logger
from taskhub.store.connection import Store
from taskhub.store.schedule import revive_jobs

log = get_logger(__name__)

_ROWS = 1_000
_PASS_S = 0.25
_ROUNDS = 2  # the second meets what was locked, or still to be committed, in the first
_START = ("", -1, "-infinity", 0)


class ClockSetBack:
    """One worker's walk over all rows that have a run_at."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds = 0
        self._after: tuple[str, int, str, int] = _START
        self._count = 0

    def begin(self) -> None:
        """The clock has gone back."""
        log.warning(
            "clock.set_back", extra={"text": "PostgreSQL's clock has gone back; each wait is started again from now"}
        )
        self._rounds, self._after, self._count = _ROUNDS, _START, 0

    def step(self) -> None:
        """Go on for a short while, if there is anything to do."""
        began_s = clock.monotonic_s()
        while self._rounds and clock.monotonic_s() - began_s < _PASS_S:
            self._read()

    def _read(self) -> None:
        found = revive_jobs(self._store, *self._after, _ROWS)
        self._count += found.revived if found else 0
        if found and found.read == _ROWS:
            at = (found.queue, found.priority, found.run_at)
            self._after = (*at, found.same + (self._after[3] if at == self._after[:3] else 0))
            return
        self._rounds, self._after = self._rounds - 1, _START
        if not self._rounds:
            log.info("clock.goes_on", extra={"count": self._count, "text": "jobs whose wait was started again"})
