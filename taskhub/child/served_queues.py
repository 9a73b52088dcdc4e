"""Which queues a child serves, and in which order it looks into them: those that were not empty a moment ago first.

Whose turn it is, so that none waits for ever, is told by virtual time: a queue's next turn is due one step of
1 / weight after its last. What a turn costs grows with the logarithm of how many queues there are.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from taskhub import clock

_EMPTY_LASTS_S, _EMPTY_LASTS_AT_MOST_S = 0.05, 5.0
_FEW_QUEUES = 20
_KNOWN_FOR_S = 1.0


class QueueRotation:
    """The order in which to try the queues; `served` settles the account, `rest` puts one behind all others."""

    def __init__(self, weights: dict[str, int], phase: Callable[[], float] = random.random) -> None:
        self._phase = phase  # in steps: by chance, else all children would look into the same queue at once
        self._weights: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._now = 0.0  # when the last turn was due
        self._resting: set[str] = set()
        self._waiting: list[tuple[float, str]] = []  # a heap of those that neither rest nor were looked at
        self._looked_at: set[str] = set()  # since `order` was last asked
        self.reweigh(weights)

    @property
    def queues(self) -> list[str]:
        return list(self._weights)

    @property
    def count(self) -> int:
        return len(self._weights)

    def reweigh(self, weights: dict[str, int]) -> None:
        """Serve these queues from now on; those known before keep their turn."""
        self._weights = dict(weights)
        self._due = {queue: self._due.get(queue) or self._first_due(weight) for queue, weight in weights.items()}
        self._resting &= weights.keys()
        self._looked_at.clear()
        self._waiting = [(due, queue) for queue, due in self._due.items() if queue not in self._resting]
        heapify(self._waiting)

    def _first_due(self, weight: int) -> float:
        return self._now + self._phase() / weight

    def order(self, *, with_resting: bool = True) -> Iterator[str]:
        """The queues, the one whose turn it is first, those that rest last; to be left where there is something.

        >>> rotation = QueueRotation({"a": 2, "b": 1}, lambda: 0.5)
        >>> served = []
        >>> for _ in range(6):
        ...     served.append(next(rotation.order()))
        ...     rotation.served(served[-1])
        >>> "".join(served)
        'abaaba'
        """
        for queue in self._looked_at - self._resting:
            heappush(self._waiting, (self._due[queue], queue))
        self._looked_at.clear()
        while self._waiting:
            queue = heappop(self._waiting)[1]
            self._looked_at.add(queue)
            yield queue
        if with_resting:
            yield from sorted(self._resting, key=self._due.__getitem__)

    def served(self, queue: str) -> None:
        """This queue had its turn. Who was empty for long has no arrears to claim."""
        self._now = max(self._now, self._due[queue])
        self._due[queue] = self._now + 1.0 / self._weights[queue]

    def rest(self, queue: str) -> None:
        """Until it is woken, a queue that was just looked at comes last, or not at all."""
        self._resting.add(queue)

    def wake(self, queues: Iterable[str]) -> None:
        for queue in queues:
            if queue in self._resting:
                self._resting.remove(queue)
                self._looked_at.add(queue)


class ServedQueues:
    """`learn` tells of all queues there are, for a child that serves them all; None: the rotation's, for good."""

    def __init__(self, rotation: QueueRotation, learn: Callable[[], set[str]] | None) -> None:
        self._rotation = rotation
        self._learn = learn
        self._learnt_at_s = -_KNOWN_FOR_S
        self._empty_until: OrderedDict[str, float] = OrderedDict()  # who was looked at first comes first

    @property
    def names(self) -> list[str]:
        """Among many, each may be the first: of the bells that have rung, the first one's is heard."""
        names = self._rotation.queues
        first = random.randrange(len(names)) if self._are_many else 0  # noqa: S311 (spreads what is heard)
        return names[first:] + names[:first]

    @property
    def _are_many(self) -> bool:
        """A look at each would take long: those that were empty a moment ago are left to their bells."""
        return self._rotation.count > _FEW_QUEUES

    def refresh(self) -> None:
        """Learn of queues that came since."""
        if self._learn is None or clock.monotonic_s() - self._learnt_at_s < _KNOWN_FOR_S:
            return
        self._learnt_at_s = clock.monotonic_s()
        known = self._learn()
        if known != set(self._rotation.queues):
            self._rotation.reweigh(dict.fromkeys(sorted(known), 1))

    def order(self) -> Iterator[str]:
        """By whose turn it is, each queue once; but, of many, none that was empty a moment ago."""
        now_s = clock.monotonic_s()
        while self._empty_until and next(iter(self._empty_until.values())) <= now_s:
            self._rotation.wake([self._empty_until.popitem(last=False)[0]])
        return self._rotation.order(with_resting=not self._are_many)

    def served(self, queue: str) -> None:
        """It had something: its turn is taken."""
        if self._empty_until.pop(queue, None) is not None:
            self._rotation.wake([queue])
        self._rotation.served(queue)

    def seen_empty(self, queue: str) -> None:
        """The more queues there are, the dearer are looks at all of them, and the longer it is not looked at again."""
        lasts_s = min(_EMPTY_LASTS_AT_MOST_S, _EMPTY_LASTS_S * max(1.0, self._rotation.count / _FEW_QUEUES))
        self._empty_until[queue] = clock.monotonic_s() + lasts_s
        self._empty_until.move_to_end(queue)
        self._rotation.rest(queue)

    def rang(self, queue: str) -> None:
        """Its bell has rung; of few queues, all are looked at again."""
        woken = [queue] if self._are_many else list(self._empty_until)
        for name in woken:
            self._empty_until.pop(name, None)
        self._rotation.wake(woken)
