"""Which members of a kind this run tries: all of them, or a few drawn by the run's seed.

The seed is chosen once, before test processes are started, and printed in pytest's head; with the same seed
in `SWEEP_SEED` the same are drawn again. `SWEEP_ALL=1` (as `scripts/sweep` sets it) draws none: it takes all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SEED, ALL = "SWEEP_SEED", "SWEEP_ALL"


def seed() -> int:
    """This run's seed, the same in all of its processes."""
    return int(os.environ.setdefault(SEED, str(random.randrange(1_000_000))))


def takes_all() -> bool:
    return os.environ.get(ALL) == "1"


def rng(name: str) -> random.Random:
    """Chance for one test, repeated by the seed."""
    return random.Random(f"{seed()}-{name}")


def drawn(name: str, members: Sequence[T], few: int) -> list[T]:
    """All members of the kind `name`, or `few` of them, in their order; for `pytest.mark.parametrize`.

    >>> os.environ[ALL] = "1"
    >>> drawn("letters", "abc", 1)
    ['a', 'b', 'c']
    >>> del os.environ[ALL]
    >>> len(drawn("letters", "abc", 2))
    2
    """
    if takes_all() or few >= len(members):
        return list(members)
    chosen = sorted(rng(name).sample(range(len(members)), few))
    return [members[place] for place in chosen]
