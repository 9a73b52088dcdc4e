"""What happens to jobs is told once: each event by its line of the log and by its counts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskhub import logs
from taskhub.domain.job import ClaimedJob
from taskhub.domain.new_job import NewJob
from taskhub.domain.outcome import Failed, Fate
from taskhub.events.jobs import (
    ChildEnded,
    ExecutionFailed,
    JobEvent,
    JobExpired,
    JobRescued,
    JobsCompleted,
    JobsSubmitted,
    JobStarted,
    LeaseLost,
    SettledForTheDead,
    WaitingJobCancelled,
)
from taskhub.events.teller import Teller
from taskhub.logs import loggers
from taskhub.metrics.definitions import REGISTRY
from taskhub.settings.fields import Settings

JOB = ClaimedJob("id-1", "mail", 2, 5, 0, 0, None, "{}")
SPAN = (10.0, 10.25, None)


def failed(status: str, cause: str = "exception") -> ExecutionFailed:
    return ExecutionFailed("q", JOB, Failed.told("id-1", "ValueError", "no", Fate(cause, 3.0), SPAN), status)


def rescued(*, is_charged: bool, status: str = "queued") -> JobRescued:
    return JobRescued("id-1", "q", "mail", status, "signal:SIGKILL", "it ended", True, is_charged)


# The event; its line's level, name and some fields; what it counts.
CASES: list[tuple[JobEvent, tuple[str, str, dict[str, Any]] | None, dict[str, float]]] = [
    (
        JobsSubmitted([NewJob("id-1", "q", "mail", 4, "{}", 5)], {"request_id": "r-1", "status": 202}),
        ("info", "job.submitted", {"job_id": "id-1", "type": "mail", "queue": "q", "request_id": "r-1", "status": 202}),
        {"taskhub_jobs_submitted_total": 1},
    ),
    (JobStarted("q", JOB), ("debug", "job.started", {"job_id": "id-1", "attempt": 2, "slot": 3}), {}),
    (
        JobsCompleted("q", "mail", 2, [("id-1", 0.25)]),
        ("info", "job.completed", {"job_id": "id-1", "attempt": 2, "duration_ms": 250.0, "worker": "w", "slot": 3}),
        {"jobs_processed_total/completed": 1, "job_processing_duration_seconds_count": 1},
    ),
    (
        failed("queued"),
        ("warning", "job.retried", {"error": "ValueError", "cause": "exception", "retry_in_s": 3.0, "attempt": 2}),
        {"jobs_processed_total/retried": 1, "job_failures_total/exception": 1},
    ),
    (
        failed("failed", "timeout"),
        ("warning", "job.failed", {"cause": "timeout", "duration_ms": 250.0}),
        {"jobs_processed_total/failed": 1, "job_failures_total/timeout": 1},
    ),
    (failed("cancelled"), ("info", "job.cancelled", {"slot": 3}), {"jobs_processed_total/cancelled": 1}),
    (
        failed("queued", "interrupted"),
        ("info", "job.retried", {"cause": "interrupted"}),
        {"jobs_processed_total/retried": 1, "job_failures_total/exception": 0},
    ),
    (
        SettledForTheDead("id-1", "q", "mail", "completed", None, 0.25),
        ("info", "job.completed", {"slot": 3}),
        {"jobs_processed_total/completed": 1},
    ),
    (
        rescued(is_charged=True),
        ("warning", "job.rescued", {"cause": "signal:SIGKILL", "message": "rescued mail: it ended"}),
        {"jobs_processed_total/crashed": 1, "job_failures_total/crash": 1, "taskhub_jobs_rescued_total": 1},
    ),
    (
        rescued(is_charged=False, status="cancelled"),
        ("info", "job.cancelled", {}),
        {"jobs_processed_total/crashed": 0, "taskhub_jobs_rescued_total": 1},
    ),
    (LeaseLost(["id-1"]), ("warning", "job.stale", {"job_id": "id-1"}), {"taskhub_stale_writes_total": 1}),
    (
        JobExpired("id-1", "q", "mail"),
        ("info", "job.failed", {"message": "failed mail: expired before it was started"}),
        {},
    ),
    (WaitingJobCancelled("id-1", "q", "mail"), ("info", "job.cancelled", {"queue": "q"}), {}),
    (ChildEnded("timeout"), None, {"taskhub_child_exits_total": 1}),
]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines that this process has logged since."""
    root, saved = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        logs.configure(Settings.load({"TASKHUB_LOG_LEVEL": "debug"}), stream.fileno())
        yield lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    root.handlers[:], root.level = saved
    loggers.use(None)


def counted(name: str) -> float:
    """The sum of the samples of a metric, of one outcome or reason if that is named after a slash."""
    name, _, value = name.partition("/")
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and (not value or value in sample.labels.values())
    )


@pytest.mark.parametrize(("event", "line", "counts"), CASES)
def test_an_event_makes_its_line_and_its_counts(
    event: JobEvent,
    line: tuple[str, str, dict[str, Any]] | None,
    counts: dict[str, float],
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    before = {name: counted(name) for name in counts}
    teller = Teller("w", 3)
    teller.tell(event)
    teller.flush()
    assert {name: counted(name) - before[name] for name in counts} == counts
    told = lines()
    assert [(each["level"], each["event"]) for each in told] == ([line[:2]] if line else [])
    assert line is None or line[2].items() <= told[0].items()
    for each in told:
        became = each["event"].partition(".")[2]
        assert each["message"].startswith(f"{became} {each.get('type', 'job')}"), (
            "a sentence: what became of which type"
        )


def test_what_happened_elsewhere_is_told_of_there(lines: Callable[[], list[dict[str, Any]]]) -> None:
    Teller("w", 3).tell(JobsCompleted("q", "mail", 1, [("id-1", 0.1)]), "other", 0)
    assert [(line["worker"], line["slot"]) for line in lines()] == [("other", 0)]
