"""How many jobs to claim at once: about a budget's worth of work, by what such jobs took lately.

Batches are sized by time, not by count: a hundred jobs of 10 microseconds are one breath, a hundred of ten
seconds would be hoarding. And by the bytes of their payloads, so that what is claimed is not released again (the
claim itself holds the bound). What is not known yet comes alone, but for what is no job any more: where a claim brings
nothing of what Redis named, the next names more: a long list of stale ids delays the jobs behind it for a moment.
"""

from __future__ import annotations

_LARGEST = 500
_GROWTH = 8  # a batch is at most this many times the last: one lucky measurement must not hoard
_WEIGHT = 0.3  # of the newest batch in the mean


class BatchSize:
    """Recent means by queue, over its present mix of types."""

    def __init__(self, budget_s: float, budget_bytes: int) -> None:
        self._budget_s = budget_s
        self._budget_bytes = budget_bytes
        self._bytes: dict[str, float] = {}
        self._by_queue: dict[str, float] = {}
        self._last: dict[str, int] = {}
        self._stale: dict[str, int] = {}  # of queues whose last claim brought nothing: how many to name next

    def wanted(self, queue: str) -> int:
        """The size of the next batch of a queue."""
        if queue in self._stale:
            return self._stale[queue]
        mean_s = self._by_queue.get(queue)
        if mean_s is None:
            return 1
        wanted = min(self._budget_s / max(mean_s, 1e-6), self._budget_bytes / self._bytes.get(queue, 1.0))
        return max(1, min(int(wanted), _LARGEST, self._last.get(queue, 1) * _GROWTH))

    def received(self, queue: str, payloads: int, size: int) -> None:
        """A claim of what Redis named brought so many payloads, of so many bytes together."""
        if not payloads:
            self._stale[queue] = min(self.wanted(queue) * _GROWTH, _LARGEST)
        else:
            self._stale.pop(queue, None)
            mean, known = max(1.0, size / payloads), self._bytes.get(queue)
            self._bytes[queue] = mean if known is None or mean > known else _mixed(known, mean)

    def seen_empty(self, queue: str) -> None:
        """Redis names nothing of it any more."""
        self._stale.pop(queue, None)

    def record(self, queue: str, count: int, seconds: float) -> None:
        """A batch has run: so many jobs, so many seconds."""
        if not count:
            return
        mean_s, known = seconds / count, self._by_queue.get(queue)
        # Slower than known counts at once, faster only little by little.
        self._by_queue[queue] = mean_s if known is None or mean_s > known else _mixed(known, mean_s)
        self._last[queue] = count


def _mixed(known: float, newest: float) -> float:
    return known + _WEIGHT * (newest - known)
