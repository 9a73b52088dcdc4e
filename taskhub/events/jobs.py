"""What happens to jobs, as values: `counters` says what each counts, `log_lines` what is written of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskhub.domain.job import ClaimedJob
from taskhub.domain.new_job import NewJob
from taskhub.domain.outcome import Failed


class JobsSubmitted(NamedTuple):
    """They are committed. request: what is told of the HTTP request that asked for them, short and of JSON's types."""

    jobs: Sequence[NewJob]
    request: Mapping[str, object]


class JobStarted(NamedTuple):
    """A handler is about to be called."""

    queue: str
    job: ClaimedJob


class JobsCompleted(NamedTuple):
    """Executions that are alike, each with its id and its seconds: what they have in common is told once."""

    queue: str
    type: str
    attempt: int
    took: Sequence[tuple[str, float]]


class ExecutionFailed(NamedTuple):
    """status: of the job since then; `queued` if it is tried again."""

    queue: str
    job: ClaimedJob
    outcome: Failed
    status: str


class SettledForTheDead(NamedTuple):
    """An execution whose child had died before it could settle it. ended: completed, failed, retried or cancelled."""

    id: str
    queue: str
    type: str
    ended: str
    reason: str | None
    took_s: float


class JobRescued(NamedTuple):
    """A job was taken back from a dead child. cause: of that death; is_charged: it costs the job an attempt."""

    id: str
    queue: str
    type: str
    status: str
    cause: str
    text: str
    was_started: bool
    is_charged: bool


class LeaseLost(NamedTuple):
    """What these jobs had become was not written: others have them since."""

    ids: Sequence[str]


class JobExpired(NamedTuple):
    """Nobody had started it in time."""

    id: str
    queue: str
    type: str


class WaitingJobCancelled(NamedTuple):
    """It was waiting, and is cancelled."""

    id: str
    queue: str
    type: str


class ChildEnded(NamedTuple):
    """Everything that it held is accounted for. reason: why its supervisor killed it, else how it died."""

    reason: str


JobEvent = (
    JobsSubmitted
    | JobStarted
    | JobsCompleted
    | ExecutionFailed
    | SettledForTheDead
    | JobRescued
    | LeaseLost
    | JobExpired
    | WaitingJobCancelled
    | ChildEnded
)
