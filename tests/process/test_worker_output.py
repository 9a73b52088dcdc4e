"""What jobs write to their process's own descriptors never breaks a line of the log, nor holds anything up."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.piped_worker import PipedWorker
from tests.harness.programs import Program, Worker
from tests.harness.raw_writers import WAYS
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.process.test_worker_roles import sidecar_of
from tests.waiting import wait_until

RAW = {**SOON, "TASKHUB_HANDLERS": "tests.harness.raw_writers", "TASKHUB_WORKER_PROCESSES": "2"}
MEBIBYTE = 2**20


def require_whole_lines(running: Worker) -> None:
    for line in running.log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def raw(running: Worker, text: str = "") -> list[dict[str, Any]]:
    """What was told of what came through a pipe."""
    return [event for event in running.events("job.output") if event["stream"] == "raw" and text in event["message"]]


def half(rows: Rows, broker: Broker, text: str, way: str = "write", number: int = 1) -> str:
    return place(rows, broker, "raw.half", {"way": way, "text": text, "number": number})[0]


def test_what_is_written_past_pythons_streams_is_told_with_its_slot_and_job(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**RAW) as running:
        cases = [(way, number, repeat) for way in WAYS for number in (1, 2) for repeat in range(2)]
        written = {f"{way}-{number}-{repeat}": (way, number) for way, number, repeat in cases}
        jobs = {half(rows, broker, text, way, number): text for text, (way, number) in written.items()}
        rows.wait_counts({"completed": len(jobs)}, 20)
        told = wait_until(lambda: len(raw(running)) >= len(jobs) and raw(running), 5, "all is told")
        assert {event["job_id"]: event["message"] for event in told} == jobs
        assert {event["slot"] for event in told} <= {0, 1}
        require_whole_lines(running)


def test_a_flood_without_a_reader_waits_for_the_next_sidecar_and_delays_no_other_job(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**RAW) as running:
        os.kill(sidecar_of(running), signal.SIGSTOP)
        flood = place(rows, broker, "raw.flood", {"bytes": 5 * MEBIBYTE, "line": 100})[0]
        wait_until(lambda: rows.job(flood)["status"] == "running", 10, "the flood begins")
        place(rows, broker, "raw.half", {"way": "write", "text": "other", "number": 1})
        rows.wait_counts({"running": 1, "completed": 1}, 4)
        os.kill(sidecar_of(running), signal.SIGKILL)
        rows.wait_counts({"completed": 2}, 15)
        wait_until(lambda: any(event.get("dropped") for event in raw(running)), 5, "the rest is counted")
        require_whole_lines(running)
    assert not running.events("role.hangs")


@pytest.mark.long
def test_pipes_outlive_a_reload_and_a_slot_that_is_added_has_one(
    worker: MakeWorker, rows: Rows, broker: Broker, tmp_path: Path
) -> None:
    with worker(**RAW) as running:
        old = place(rows, broker, "raw.twice", {"text": "old", "file": str(tmp_path / "go")})[0]
        wait_until(lambda: raw(running, "old-1"), 5, "the first is told")
        running.signal(signal.SIGHUP)
        wait_until(lambda: len(running.events("child.started")) > 2, 40, f"a new program forks\n{running.tail()}")
        (tmp_path / "go").touch()
        [told] = wait_until(lambda: raw(running, "old-2"), 5, "an old child writes to the new program")
        assert (told["job_id"], told["slot"]) == (old, raw(running, "old-1")[0]["slot"])
        assert rows.job(old)["attempts"] == 1
        running.signal(signal.SIGTTIN)
        wait_until(lambda: any(event["slot"] == 2 for event in running.events("child.started")), 10, "it grows")

        def has_written() -> bool:
            half(rows, broker, "new")
            return {event["slot"] for event in raw(running, "new")} == {0, 1, 2}

        wait_until(has_written, 10, "every slot is read", every_s=0.05)
        require_whole_lines(running)


def test_the_dump_of_a_broken_child_is_told_with_the_job_that_it_ran(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**RAW) as running:
        job = place(rows, broker, "raw.segfault", max_attempts=1)[0]
        told = wait_until(lambda: raw(running, "Segmentation fault"), 10, "the dump is told")
        assert told[0]["job_id"] == job
        require_whole_lines(running)


def test_what_a_module_prints_when_it_is_imported_is_a_line_of_the_log_and_waits_for_no_reader(
    worker: MakeWorker, environment: dict[str, str], tmp_path: Path, rows: Rows, broker: Broker
) -> None:
    (tmp_path / "chatty.py").write_text(
        f"import os\nos.write(2, b'x\\n' * {MEBIBYTE})\nprint('half', end='')\nos.write(1, b'an end')\n"
    )
    settings = {**environment, **SOON, "TASKHUB_HANDLERS": "chatty", "PYTHONPATH": str(tmp_path)}
    running = PipedWorker(settings, tmp_path, "worker", log_folder=tmp_path)
    running.stall()
    running.start()
    try:
        place(rows, broker, "echo")
        rows.wait_counts({"completed": 1}, 60)
        running.go_on()
        [told] = wait_until(lambda: running.events("handlers.output"), 30, f"what it printed is told\n{running.tail()}")
        assert "half" in told["message"]
        assert "an end" in told["message"]
        assert running.stop() == 0
        require_whole_lines(running)
    finally:
        running.end()


def test_a_worker_without_an_output_gives_its_number_to_no_other_file(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    running = worker(**RAW)
    running._argv = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *running._argv]
    running.start()
    try:
        Program.wait_ready(running)
        half(rows, broker, "lost")
        rows.wait_counts({"completed": 1}, 10)
        for number in range(3):
            assert os.readlink(f"/proc/{running.pid}/fd/{number}") == os.devnull
        assert running.stop() == 0
    finally:
        running.end()
