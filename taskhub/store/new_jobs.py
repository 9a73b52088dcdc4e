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


class AlikeInsert(NamedTuple):
    """What an INSERT made of jobs that are alike: how many went in; their times, if these are the same for all."""

    number: int
    are_alike: bool
    created_at: str | None
    run_at: str | None
    expires_at: str | None


def insert_plain_jobs(store: Store, jobs: Sequence[NewJob], *, is_repeated: bool, timeout_s: float) -> list[Inserted]:
    """Commit jobs without keys, by the statement that says it with the fewest words.

    Those of which nothing is told here may have been there already, or have times of their own. is_repeated: some may
    be there.
    """
    if is_repeated:
        return insert_jobs(store, jobs, is_repeated=True, timeout_s=timeout_s)
    if len(jobs) == 1 and jobs[0][6:] == _NOTHING_MORE:
        return insert_job(store, jobs[0], timeout_s=timeout_s)
    columns = dict(zip(NewJob._fields, zip(*jobs, strict=True), strict=True))
    ids, payloads = columns.pop("id"), columns.pop("payload")
    if not all(column.count(column[0]) == len(jobs) for column in columns.values()):
        return insert_jobs(store, jobs, is_repeated=False, timeout_s=timeout_s)
    made = insert_alike_jobs(store, jobs[0], ids, payloads, timeout_s=timeout_s)
    if made.number < len(jobs) or not made.are_alike or made.created_at is None:
        return []
    return [Inserted(job_id, made.created_at, made.run_at, made.expires_at) for job_id in ids]


def insert_job(store: Store, job: NewJob, *, timeout_s: float) -> list[Inserted]:
    """Commit one job that has none of the options; no row if it was there."""
    rows = store.run(
        "insert_job", job.id, job.queue, job.type, job.priority, job.payload, job.max_attempts, timeout_s=timeout_s
    )
    return [Inserted._make(row) for row in rows]


def insert_alike_jobs(
    store: Store, job: NewJob, ids: Sequence[str], payloads: Sequence[str], *, timeout_s: float
) -> AlikeInsert:
    """Commit jobs without keys that are like one of them in all but ids and payloads."""
    [row] = store.run(
        "insert_alike_jobs",
        uuid_array(ids),
        text_array(payloads),
        job.queue,
        job.type,
        job.priority,
        job.max_attempts,
        job.timeout_s,
        job.delay_s,
        job.run_at,
        job.expires_at,
        text_array(job.tags),
        timeout_s=timeout_s,
    )
    return AlikeInsert._make(row)


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
# Of a NewJob, from its timeout on.
_NOTHING_MORE = tuple(NewJob._field_defaults.values())


def _arrays(columns: Columns, jobs: Sequence[NewJob], is_repeated: bool) -> list[str]:
    """A job that may be there already gets a run_at, by which it is found in any case."""
    values: dict[str, Sequence[Any]] = dict(zip(NewJob._fields, zip(*jobs, strict=True), strict=True))
    if is_repeated:
        values["delay_s"] = [job.delay_s if job.waits else 0.0 for job in jobs]
    return [write(values[field]) for field, write in columns.values()]
