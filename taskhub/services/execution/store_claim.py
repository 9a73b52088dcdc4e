"""Claim without Redis: what waits is found in PostgreSQL as well.

Invariants:
- The slot bears the lease of each statement that was carried out, also of one that found nothing.
- A claim of unknown outcome closes this slot in effect: the next one is refused.
"""

from __future__ import annotations

from taskhub import clock, ids
from taskhub.domain.errors import StoreUnavailableError
from taskhub.domain.job import ClaimedJob, WorkerSlot
from taskhub.services.execution.claimed import MAX_BATCH_BYTES, Claim, claim_of, header_of
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

    def claim(self, queue: str, want: int, lease: str | None) -> tuple[Claim, bool]:
        """A batch of the highest priority that waits, and whether the queue is paused. Raises as `Claimer.claim`."""
        is_first, is_paused = True, False
        for priority in self._known_priorities(queue):
            claim_lease = ids.new_token()
            arguments = (*self._slot, queue, priority, want, lease, claim_lease, MAX_BATCH_BYTES)
            try:
                rows = self._store.run("claim_from_store", *arguments)
            except StoreUnavailableError:
                if is_first:
                    raise
                break  # the next claim will tell
            is_paused = header_of(rows[0]).is_paused
            lease, is_first = claim_lease, False
            if len(rows) > 1:
                return claim_of(queue, lease, sorted(map(ClaimedJob._make, rows[1:])), 0), is_paused
            if is_paused:
                break
        return Claim(queue, lease, [], 0, is_empty=True), is_paused

    def _known_priorities(self, queue: str) -> list[int]:
        if clock.monotonic_s() - self._priorities_at >= _PRIORITIES_LAST_S:
            self._priorities = {}
            for name, priority in self._store.run("waiting_places", _PLACES, _NEWEST):
                self._priorities.setdefault(name, []).append(priority)
            self._priorities_at = clock.monotonic_s()
        return self._priorities.get(queue, [])
