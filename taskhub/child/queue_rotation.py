"""Whose turn it is among several queues: smooth weighted round robin, so that none waits for ever.

The algorithm is nginx's smooth weighted balancing: each turn every queue earns its weight, the richest is
served and pays the sum of all weights.
"""

from __future__ import annotations


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
