"""How much waits in the queues: as Redis knows it, or counted in PostgreSQL while Redis is away.

What neither can tell is left out, never called zero. Answers are kept for a second.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable

from taskhub import clock
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError, QueueFullError, TaskhubError
from taskhub.store.connection import Store
from taskhub.store.queues import oldest_waiting, queue_depth, queue_names

_KEPT_S = 1.0
_READ_S = 0.5
_STRETCH = 10_000
COUNTED_TO = (100_000, 500, 2_000)  # rows, places behind the walk, rows of each of those: see queue_depth


class Depths:
    """Depths for one process; `reads` runs statements that change nothing."""

    def __init__(self, reads: Store, broker: Broker, queues: Iterable[str] = ()) -> None:
        self._reads = reads
        self._broker = broker
        self._queues = sorted(set(queues))
        self._lock = threading.Lock()
        self._depths: dict[str, int] = {}
        self._read_at_s = float("-inf")

    def depths(self) -> dict[str, int]:
        """Jobs that could run now, by queue; empty if nobody can tell."""
        with self._lock:
            if clock.monotonic_s() - self._read_at_s >= _KEPT_S:
                self._depths = self._now()
                self._read_at_s = clock.monotonic_s()
            return self._depths

    def _now(self) -> dict[str, int]:
        with contextlib.suppress(TaskhubError):  # then by the names known so far
            self._queues = sorted({*self._queues, *queue_names(self._reads, timeout_s=_READ_S)})
        try:
            return self._broker.depths(self._queues) if self._queues else {}
        except BrokerUnavailableError:
            pass
        try:
            return queue_depth(self._reads, *COUNTED_TO, timeout_s=_READ_S)
        except TaskhubError:
            return {}


class Limits:
    """Refuses submissions to a queue that holds too much, or is too late; one of the two may be None: no such limit."""

    def __init__(self, depths: Depths, reads: Store, max_depth: int | None, max_age_s: float | None) -> None:
        self._depths = depths
        self._reads = reads
        self._max_depth = max_depth
        self._max_age_s = max_age_s
        self._ages: dict[str, tuple[float, float]] = {}  # by queue: read at, age

    def check(self, queues: Iterable[str]) -> None:
        """Raises QueueFullError. A queue of which nothing can be learned is not full."""
        for queue in queues:
            depth = self._depths.depths().get(queue, 0)
            if self._max_depth is not None and depth >= self._max_depth:
                raise QueueFullError(f"queue {queue} holds {depth} jobs, {self._max_depth} are allowed", depth)
            if self._max_age_s is not None and self._age_s(queue) >= self._max_age_s:
                raise QueueFullError(f"jobs in queue {queue} wait longer than {self._max_age_s:g} s", depth)

    def _age_s(self, queue: str) -> float:
        now_s = clock.monotonic_s()
        read_at_s, age_s = self._ages.get(queue, (float("-inf"), 0.0))
        if now_s - read_at_s < _KEPT_S:
            return age_s
        try:
            found = oldest_waiting(self._reads, queue, _STRETCH, timeout_s=_READ_S) or 0.0
        except TaskhubError:
            found = 0.0
        if len(self._ages) > 1_000:
            self._ages.clear()
        self._ages[queue] = (now_s, found)
        return found
