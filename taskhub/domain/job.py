"""The words of a job: its statuses, the reasons it can fail for, its bounds, the row a child claims."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

QUEUED: Final = "queued"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

STATUSES: Final = (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)
TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED})

ATTEMPTS_EXHAUSTED: Final = "attempts_exhausted"
CRASH_LIMIT: Final = "crash_limit"
NON_RETRYABLE: Final = "non_retryable"
EXPIRED: Final = "expired"
UNKNOWN_TYPE: Final = "unknown_type"
RESULT_UNSTORABLE: Final = "result_unstorable"
INTERRUPTED: Final = "interrupted"  # a cause that charges nothing

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024  # of payloads; the last may reach beyond
MAX_CRASHES: Final = 3
FREE_INTERRUPTIONS: Final = 10
DEFAULT_QUEUE: Final = "default"
DEFAULT_PRIORITY: Final = 4
PRIORITIES: Final = range(9, -1, -1)  # highest first, the order in which they are taken

# What queues and types may be called: safe in Redis keys, URLs and metric labels.
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class ClaimedJob(NamedTuple):
    """What a child learns of a job by claiming it; `payload` is JSON text with its `type`."""

    id: str
    type: str
    attempt: int
    max_attempts: int
    interruptions: int
    crashes: int
    timeout_s: float | None
    payload: str


class WorkerSlot(NamedTuple):
    """Whose claims some jobs are: one generation of one slot of a worker."""

    worker: str
    number: int
    generation: int
