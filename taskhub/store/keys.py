"""Idempotency keys and unique keys: which job each stands for, and how long."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import text_array, uuid_array


class KeyHolders(NamedTuple):
    """Who holds a job's keys: its idempotency key's fingerprint and job, its unique key's job."""

    id: str
    fingerprint: str | None
    idempotent_id: str | None
    unique_id: str | None


class PrunedKeys(NamedTuple):
    """How far unique keys were read, and how many; last None: none is left."""

    last: str | None
    read: int


class PrunedIdempotency(NamedTuple):
    """How far idempotency keys were read; `same` rows of the time `last` stay, `read` were read."""

    last: str | None
    same: int
    read: int


def keyed_jobs(
    store: Store,
    ids: list[str],
    idempotency_keys: list[str | None],
    unique_keys: list[str | None],
    *,
    timeout_s: float,
) -> list[KeyHolders]:
    """Who holds the keys of jobs that were not inserted."""
    rows = store.run(
        "keyed_jobs", uuid_array(ids), text_array(idempotency_keys), text_array(unique_keys), timeout_s=timeout_s
    )
    return [KeyHolders._make(row) for row in rows]


def free_unique_key(store: Store, unique_key: str, holder: str) -> None:
    """Free a key whose holder was deleted; one that has changed hands stays."""
    store.run("free_unique_key", unique_key, holder)


def repoint_idempotency_key(store: Store, idempotency_key: str, job_id: str, holder: str) -> None:
    """Let a key that was taken for a job stand for the holder of that job's unique key."""
    store.run("repoint_idempotency_key", idempotency_key, job_id, holder)


def prune_unique_keys(store: Store, after: str, amount: int) -> PrunedKeys:
    """Forget unique keys whose job is over, from the one given on."""
    [row] = store.run("prune_unique_keys", after, amount)
    return PrunedKeys._make(row)


def prune_idempotency_keys(store: Store, since: str, skip: int, amount: int) -> PrunedIdempotency:
    """Forget idempotency keys whose time and whose job are over, from a time on."""
    [row] = store.run("prune_idempotency_keys", since, skip, amount)
    return PrunedIdempotency._make(row)
