"""The journal of a child: its outcomes as bytes in shared memory, where a death leaves them for others to settle.

Each entry carries a checksum, and a reader stops at the first that does not match: what lies behind a torn
or damaged entry is not believed, and those jobs run again.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import orjson

from taskhub.domain.outcome import Committed, Completed, Failed, Outcome

_SUM = struct.Struct("<I")
_HEAD = struct.Struct("<IB16sdd")
_COMPLETED, _FAILED, _COMMITTED = 1, 2, 3
_RESULT_IS_NULL = b"-"


def journal_entry(outcome: Outcome, raw_id: bytes) -> bytes:
    """The outcome as bytes for the journal."""
    if isinstance(outcome, Completed):
        body = _RESULT_IS_NULL if outcome.result is None else outcome.result.encode()
        kind = _COMPLETED
    elif isinstance(outcome, Committed):
        body, kind = b"", _COMMITTED
    else:
        body = orjson.dumps([*outcome[1:6], outcome.raised_in, outcome.traceback])
        kind = _FAILED
    entry = _HEAD.pack(len(body), kind, raw_id, outcome.started_s, outcome.finished_s) + body
    return zlib.crc32(entry).to_bytes(_SUM.size, "little") + entry


def read_journal(journal: bytes) -> Iterator[Outcome]:
    """The outcomes in a journal, in the order in which they were noted, up to the first that is damaged."""
    position = 0
    while position + _SUM.size + _HEAD.size <= len(journal):
        (checksum,) = _SUM.unpack_from(journal, position)
        position += _SUM.size
        (length, *head) = _HEAD.unpack_from(journal, position)
        entry = journal[position : position + _HEAD.size + length]
        position += len(entry)
        outcome = _outcome(head, entry[_HEAD.size :]) if zlib.crc32(entry) == checksum else None
        if outcome is None:
            return
        yield outcome


def _outcome(head: list[Any], body: bytes) -> Outcome | None:
    kind, raw_id, started_s, finished_s = head
    job_id = str(uuid.UUID(bytes=raw_id))
    try:
        if kind == _COMPLETED:
            result = None if body == _RESULT_IS_NULL else body.decode()
            return Completed(job_id, result, started_s, finished_s)
        if kind == _COMMITTED:
            return Committed(job_id, started_s, finished_s)
        error_type, message, cause, retry_in_s, reason, *told = orjson.loads(body)
        ended = (error_type, message, cause, retry_in_s, reason, started_s, finished_s, None)
        return Failed(job_id, *ended, *told)  # nothing told: by a child of an older version
    except (ValueError, TypeError):  # a checksum that matches by chance
        return None


def undated(outcome: Outcome, now_s: float) -> Outcome:
    """The outcome of a process that ran before this boot: how long it took is known, and no more."""
    took_s = max(0.0, outcome.finished_s - outcome.started_s)
    return outcome._replace(started_s=now_s - took_s, finished_s=now_s)
