"""How an execution ended, as a value; and its form in the journal that outlives its process.

A journal entry is a head (length, kind, id, start, finish) and a body: the result's JSON text of a
completed job, or JSON fields of a failed one. Times are boot-time seconds, so that a later reader on
the same host can tell how long ago they were.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import orjson

_HEAD = struct.Struct("<IB16sdd")
_COMPLETED, _FAILED = 1, 2
_RESULT_IS_NULL = b"-"


class Completed(NamedTuple):
    """The handler returned; `result` is JSON text, None for a null result."""

    id: str
    result: str | None
    started_s: float
    finished_s: float


class Failed(NamedTuple):
    """The handler did not; `retry_in_s` None means no retry, for `reason`."""

    id: str
    type: str
    message: str
    cause: str
    retry_in_s: float | None
    reason: str | None
    started_s: float
    finished_s: float
    peak_rss_mb: float | None = None  # known of a process that is dead


Outcome = Completed | Failed


def journal_entry(outcome: Outcome, raw_id: bytes) -> bytes:
    """The outcome as bytes for the journal."""
    if isinstance(outcome, Completed):
        body = _RESULT_IS_NULL if outcome.result is None else outcome.result.encode()
        kind = _COMPLETED
    else:
        body = orjson.dumps(outcome[1:6])
        kind = _FAILED
    return _HEAD.pack(len(body), kind, raw_id, outcome.started_s, outcome.finished_s) + body


def read_journal(journal: bytes) -> Iterator[Outcome]:
    """The outcomes in a journal, in the order in which they were noted."""
    position = 0
    while position + _HEAD.size <= len(journal):
        length, kind, raw_id, started_s, finished_s = _HEAD.unpack_from(journal, position)
        position += _HEAD.size
        body, position = journal[position : position + length], position + length
        job_id = str(uuid.UUID(bytes=raw_id))
        if kind == _COMPLETED:
            result = None if body == _RESULT_IS_NULL else body.decode()
            yield Completed(job_id, result, started_s, finished_s)
        else:
            error_type, message, cause, retry_in_s, reason = orjson.loads(body)
            yield Failed(job_id, error_type, message, cause, retry_in_s, reason, started_s, finished_s)
