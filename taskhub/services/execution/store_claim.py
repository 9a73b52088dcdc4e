"""Claim without Redis: what waits is found in PostgreSQL as well.

Invariants:
- The slot bears the lease of each statement that was carried out, also of one that found nothing.
- A claim of unknown outcome closes this slot in effect: the next one, which is sent although nothing may wait any
  more, is refused.
"""

from __future__ import annotations

from taskhub import clock, ids
from taskhub.domain.errors import SlotClosedError, StoreUnavailableError
from taskhub.domain.job import DEFAULT_PRIORITY, MAX_BATCH_BYTES, WorkerSlot
from taskhub.services.execution.claim_result import Jobs, NothingClaimed, Paused
from taskhub.store.claims import claim_from_store, waiting_places
from taskhub.store.connection import Connection

_PRIORITIES_LAST_S = 1.0
_PLACES, _NEWEST = 500, 5_000  # looked at for where something waits


class StoreClaim:
    """One child's, over its own connection."""

    def __init__(self, store: Connection, slot: WorkerSlot) -> None:
        self._store = store
        self._slot = slot
        self._priorities: dict[str, list[int]] = {}
        self._priorities_at = -_PRIORITIES_LAST_S
        self.is_in_doubt = False  # it may hold what it has not heard of

    def claim(self, queue: str, want: int, lease: str | None) -> tuple[Jobs | Paused | NothingClaimed, str | None]:
        """A batch of the highest priority that waits, and the lease that the slot bears since.

        Raises as `Claimer.claim`.
        """
        is_first = True
        for priority in self._known_priorities(queue) or [DEFAULT_PRIORITY] * self.is_in_doubt:
            mine = ids.new_token()
            try:
                answer = claim_from_store(self._store, self._slot, queue, priority, want, lease, mine, MAX_BATCH_BYTES)
            except StoreUnavailableError as error:
                self.is_in_doubt = self.is_in_doubt or error.outcome_unknown
                if is_first:
                    raise
                break  # the next claim will tell
            if not answer.slot_open:
                raise SlotClosedError("the answer to a claim was lost") if self.is_in_doubt else SlotClosedError()
            self.is_in_doubt = False
            lease, is_first = mine, False
            if answer.jobs or answer.withheld:
                return Jobs(queue, mine, sorted(answer.jobs), withheld=answer.withheld), lease
            if answer.paused:
                return Paused(0), lease
        return NothingClaimed(), lease

    def _known_priorities(self, queue: str) -> list[int]:
        if clock.monotonic_s() - self._priorities_at >= _PRIORITIES_LAST_S:
            self._priorities = {}
            for place in waiting_places(self._store, _PLACES, _NEWEST):
                self._priorities.setdefault(place.queue, []).append(place.priority)
            self._priorities_at = clock.monotonic_s()
        return self._priorities.get(queue, [])
