"""New jobs: the columns of their rows, listed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from taskhub.domain.new_job import Inserted, NewJob
from taskhub.store.connection import Store
from taskhub.store.statements import number_array, text_array, uuid_array

Columns = Mapping[str, tuple[str, Callable[[Any], str]]]


class KeyedInsert(NamedTuple):
    """What an INSERT made of a job with keys: was its idempotency key new? Without times, another holds its key."""

    id: str
    is_first: bool | None
    created_at: str | None
    run_at: str | None
    expires_at: str | None


def insert_jobs(store: Store, jobs: Sequence[NewJob], *, is_repeated: bool, timeout_s: float) -> list[Inserted]:
    """Commit jobs without keys; one that was there already is left out. is_repeated: some may be."""
    arrays = _arrays(_COLUMNS, jobs, is_repeated)
    return [Inserted._make(row) for row in store.run("insert_jobs", *arrays, timeout_s=timeout_s)]


def insert_keyed_jobs(
    store: Store, jobs: Sequence[NewJob], *, is_repeated: bool, timeout_s: float, kept_s: float
) -> list[KeyedInsert]:
    """Commit jobs with keys, no key twice; all are told of. kept_s: how long an idempotency key stands for its job."""
    arrays = _arrays(_COLUMNS_WITH_KEYS, jobs, is_repeated)
    return [KeyedInsert._make(row) for row in store.run("insert_keyed_jobs", *arrays, kept_s, timeout_s=timeout_s)]


def _names(names: Sequence[str]) -> str:
    """An array literal of names: these hold nothing to escape."""
    return '{"' + '","'.join(names) + '"}'


def _array_literals(items: Sequence[Sequence[str]]) -> str:
    return text_array([text_array(list(each)) if each else "{}" for each in items])


# The parameters of both statements, in order: which field of NewJob each is, and how an array of them is written.
_COLUMNS: Columns = {
    "ids": ("id", uuid_array),
    "queues": ("queue", _names),
    "types": ("type", _names),
    "priorities": ("priority", number_array),
    "payloads": ("payload", text_array),
    "max_attempts": ("max_attempts", number_array),
    "timeouts": ("timeout_s", number_array),
    "run_in": ("delay_s", number_array),
    "unique_keys": ("unique_key", text_array),
    "tags": ("tags", _array_literals),
    "run_at": ("run_at", text_array),
    "expires_at": ("expires_at", text_array),
}
_COLUMNS_WITH_KEYS: Columns = {
    **_COLUMNS,
    "idempotency_keys": ("idempotency_key", text_array),
    "fingerprints": ("fingerprint", text_array),
}


def _arrays(columns: Columns, jobs: Sequence[NewJob], is_repeated: bool) -> list[str]:
    """A job that may be there already gets a run_at, by which it is found in any case."""
    values: dict[str, Sequence[Any]] = dict(zip(NewJob._fields, zip(*jobs, strict=True), strict=True))
    if is_repeated:
        values["delay_s"] = [job.delay_s if job.waits else 0.0 for job in jobs]
    return [write(values[field]) for field, write in columns.values()]
