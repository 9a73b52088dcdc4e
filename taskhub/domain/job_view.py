"""The job object of the contract: every key always there, times RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taskhub.domain.job import FAILED, QUEUED


class JobRow(NamedTuple):
    """A row as `get_jobs` reads it, what a new one does not say last; times as PostgreSQL writes them, JSON as text."""

    id: str
    type: str
    queue: str
    priority: int
    payload: str
    max_attempts: int
    timeout_s: float | None
    tags: str
    unique_key: str | None
    run_at: str | None
    expires_at: str | None
    created_at: str
    updated_at: str
    status: str = QUEUED
    result: str | None = None
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    replays: int = 0
    failure_reason: str | None = None
    error: str | None = None
    worker: str | None = None
    slot: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    cancel_requested_at: str | None = None


def job_view(row: JobRow, parsed: Callable[[str], Any]) -> dict[str, Any]:
    """The job as it is shown; `parsed` makes something of JSON text (a value, or a fragment of an answer)."""
    return {
        "id": row.id,
        "type": row.type,
        "queue": row.queue,
        "priority": row.priority,
        "status": row.status,
        "payload": parsed(row.payload),
        "result": None if row.result is None else parsed(row.result),
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "crashes": row.crashes,
        "interruptions": row.interruptions,
        "replays": row.replays,
        "timeout_s": row.timeout_s,
        "tags": parsed(row.tags),
        "unique_key": row.unique_key,
        "run_at": moment(row.run_at),
        "expires_at": moment(row.expires_at),
        "failure_reason": row.failure_reason if row.status == FAILED else None,
        "error": None if row.error is None else parsed(row.error),
        "worker": None if row.worker is None else {"id": row.worker, "slot": row.slot},
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "cancel_requested_at": moment(row.cancel_requested_at),
    }


def moment(text: str | None) -> str | None:
    """A time as PostgreSQL writes it in UTC (`2030-01-31 12:00:00+00`) as RFC 3339, if that has a word for it."""
    if text is None or text[10:11] != " " or not text.endswith("+00"):  # infinity, or far from our years, by SQL
        return text
    return f"{text[:10]}T{text[11:-3]}Z"
