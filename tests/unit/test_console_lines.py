"""The console's lines: what somebody who follows one machine wants to read, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Failed, Fate
from taskhub.events import log_lines
from taskhub.events.jobs import ExecutionFailed, JobEvent, JobsCompleted
from taskhub.logs import loggers
from taskhub.logs.console_lines import ConsoleLines
from taskhub.logs.process_log import ProcessLog

ID = "01a214b5-89f5-7014-bcd5-c46562f1e25e"
WHERE = {"worker": "8f495917-8eff-4765-9bbe-c06f8ef2a55d", "slot": 1}
SHORT = "01a214b5-89f5"


@pytest.fixture(autouse=True)
def _east_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def told(event: JobEvent, *, colours: bool = False) -> str:
    """The text of the event's line, without its time."""
    readable, writable = os.pipe()
    loggers.use(ProcessLog(10, ConsoleLines(colours), writable))
    try:
        log_lines.write(event, WHERE)
        return os.read(readable, 65536).decode().partition(" ")[2]
    finally:
        loggers.use(None)
        os.close(readable)
        os.close(writable)


def line(level: str, event: str, message: str, *, colours: bool = False, **fields: Any) -> str:
    return ConsoleLines(colours).line(0, level, event, message, fields).decode()


def failure(status: str, queue: str = "default") -> ExecutionFailed:
    failed = Failed.told(ID, "ValueError", "no", Fate("exception", 3.0), (10.0, 10.25, None))
    failed = failed._replace(raised_in="/h.py:9 resize", traceback="Traceback:\nValueError: no")
    return ExecutionFailed(queue, ClaimedJob(ID, "image.resize", 2, 5, 0, 0, None, "{}"), failed, status)


def test_a_completed_job_is_one_short_sentence_in_green() -> None:
    event = JobsCompleted("default", "image.resize", 1, [(ID, 0.003), (ID, 0.0004)])
    assert told(event).splitlines()[0] == f"completed image.resize {SHORT} attempt 1 3 ms"
    assert told(event).endswith(" attempt 1 0.4 ms\n")
    assert told(event, colours=True).startswith("\x1b[32mcompleted\x1b[0m image")


def test_a_failed_job_says_why_and_where_with_its_traceback_set_in() -> None:
    first, *rest = told(failure("failed")).splitlines()
    assert first == f'failed image.resize {SHORT} attempt 2 250 ms: ValueError: no where="/h.py:9 resize"'
    assert rest == ["    | Traceback:", "    | ValueError: no"]
    assert told(failure("failed"), colours=True).startswith("\x1b[31mfailed")
    assert "queue=low where=" in told(failure("queued", "low"))
    assert told(failure("queued"), colours=True).startswith("\x1b[33mretried")


def test_a_request_is_its_method_its_path_its_status_and_its_time() -> None:
    fields = {"request_id": ID, "method": "POST", "path": f"/jobs/{ID}/cancel", "status": 202, "duration_ms": 4.9}
    assert line("info", "request", f"POST /jobs/{ID}/cancel 202 5 ms", **fields) == (
        f"03:00:00.000 POST /jobs/{SHORT}/cancel 202 5 ms\n"
    )
    for status, colour in ((202, 32), (404, 33), (503, 31)):
        assert f"\x1b[{colour}m" in line("info", "request", "GET / 1 ms", colours=True, status=status)


def test_what_a_handler_says_stands_before_whose_it_is() -> None:
    fields = {"job_id": ID, "type": "image.resize", "queue": "default", "attempt": 1, "width": 80}
    said = line("info", "job.log", "resizing", **fields)
    assert said == f"03:00:00.000 job.log resizing (image.resize {SHORT} attempt 1) width=80\n"


def test_a_warning_says_that_it_is_one_and_nothing_says_nothing() -> None:
    said = line("warning", "child.exited", "child 1 has ended: SIGKILL", slot=1, job_id=None)
    assert said == "03:00:00.000 warning child.exited child 1 has ended: SIGKILL slot=1\n"
