"""Which queues a child serves, and in which order it looks into them: those that were not empty a moment ago first.

Whose turn it is, so that none waits for ever, is smooth weighted round robin as nginx has it: each turn every queue
earns its weight, the richest is served and pays the sum of all weights.
"""

from __future__ import annotations

from collections.abc import Callable

from taskhub import clock

_EMPTY_LASTS_S = 0.05
_FEW_QUEUES = 20
_KNOWN_FOR_S = 1.0


class QueueRotation:
    """The order in which to try the queues; `served` settles the account."""

    def __init__(self, weights: dict[str, int]) -> None:
        self._weights = dict(weights)
        self._credit = dict.fromkeys(weights, 0)

    @property
    def queues(self) -> list[str]:
        return list(self._weights)

    def reweigh(self, weights: dict[str, int]) -> None:
        """Serve these queues from now on; those known before keep their credit."""
        self._weights = dict(weights)
        self._credit = {queue: self._credit.get(queue, 0) for queue in weights}

    def order(self) -> list[str]:
        """All queues, the one whose turn it is first.

        >>> rotation = QueueRotation({"a": 2, "b": 1})
        >>> served = []
        >>> for _ in range(6):
        ...     served.append(rotation.order()[0])
        ...     rotation.served(served[-1])
        >>> "".join(served)
        'abaaba'
        """
        return sorted(self._weights, key=lambda queue: -(self._credit[queue] + self._weights[queue]))

    def served(self, queue: str) -> None:
        """This queue had its turn. Credit and debt are bounded: who was empty for long claims no arrears."""
        total = sum(self._weights.values())
        self._credit[queue] -= total
        for name, weight in self._weights.items():
            self._credit[name] = max(-total, min(self._credit[name] + weight, total))


class ServedQueues:
    """`learn` tells of all queues there are, for a child that serves them all; None: the rotation's, for good."""

    def __init__(self, rotation: QueueRotation, learn: Callable[[], set[str]] | None) -> None:
        self._rotation = rotation
        self._learn = learn
        self._learnt_at_s = -_KNOWN_FOR_S
        self._empty_until: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        return self._rotation.queues

    def refresh(self) -> None:
        """Learn of queues that came since."""
        if self._learn is None or clock.monotonic_s() - self._learnt_at_s < _KNOWN_FOR_S:
            return
        self._learnt_at_s = clock.monotonic_s()
        known = self._learn()
        if known != set(self._rotation.queues):
            self._rotation.reweigh(dict.fromkeys(sorted(known), 1))

    def order(self) -> list[str]:
        """Each queue once, by whose turn it is."""
        now = clock.monotonic_s()
        return sorted(self._rotation.order(), key=lambda queue: self._empty_until.get(queue, 0.0) > now)

    def served(self, queue: str) -> None:
        """It had something: its turn is taken."""
        self._empty_until.pop(queue, None)
        self._rotation.served(queue)

    def seen_empty(self, queue: str) -> None:
        """Among many queues a look at each empty one is dear; before it waits, a child looks at them all."""
        lasts_s = _EMPTY_LASTS_S * max(1.0, len(self._rotation.queues) / _FEW_QUEUES)
        self._empty_until[queue] = clock.monotonic_s() + lasts_s

    def forget_empty(self) -> None:
        """A bell has rung, somewhere."""
        self._empty_until.clear()
