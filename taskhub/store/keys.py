"""Idempotency keys and unique keys: which job each stands for, and how long."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store


class PrunedKeys(NamedTuple):
    """How far unique keys were read, and how many; last None: none is left."""

    last: str | None
    read: int


class PrunedIdempotency(NamedTuple):
    """How far idempotency keys were read; `same` rows of the time `last` stay, `read` were read."""

    last: str | None
    same: int
    read: int


def prune_unique_keys(store: Store, after: str, amount: int) -> PrunedKeys:
    """Forget unique keys whose job is over, from the one given on."""
    [row] = store.run("prune_unique_keys", after, amount)
    return PrunedKeys._make(row)


def prune_idempotency_keys(store: Store, since: str, skip: int, amount: int) -> PrunedIdempotency:
    """Forget idempotency keys whose time and whose job are over, from a time on."""
    [row] = store.run("prune_idempotency_keys", since, skip, amount)
    return PrunedIdempotency._make(row)
