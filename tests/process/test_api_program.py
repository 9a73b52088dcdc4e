"""The API as a program: it stops gently, and its metrics outlive its processes."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.fixtures import MakeApi
from tests.harness.programs import Api
from tests.harness.rows import Rows
from tests.waiting import stretched, wait_until

_FILES_OF_TWO = {f"{kind}_api{slot}.db" for kind in ("counter", "histogram") for slot in (0, 1)}


def test_sigterm_answers_those_who_wait_and_ends_with_zero(api: MakeApi) -> None:
    with api() as program:
        with program.http() as client:
            job = client.submit("echo")

        def wait() -> int:
            with program.http() as client:
                return client.get(f"/jobs/{job}?wait=25").status

        with ThreadPoolExecutor(2) as threads:
            waits = [threads.submit(wait) for _ in range(2)]
            wait_until(lambda: program.metrics().get("taskhub_api_waiters") == 2, 20, "two requests wait")
            started = time.monotonic()
            assert program.stop(deadline_s=15) == 0
            assert [wait.result(1) for wait in waits] == [200, 200]
        assert time.monotonic() - started < stretched(10)
        assert program.children() == []


def test_sigterm_under_load_loses_no_answer(api: MakeApi, rows: Rows) -> None:
    """Whoever got an answer has a job; whoever got none was told so by a closed connection, never by a 5xx."""
    with api(TASKHUB_API_PROCESSES="2") as program:
        accepted: list[str] = []

        def submit() -> None:
            with program.http() as client:
                while True:
                    try:
                        answer = client.post("/jobs", {"payload": {"type": "echo"}})
                    except OSError:
                        return
                    assert answer.status == 202, answer.body
                    accepted.append(answer.json["id"])

        with ThreadPoolExecutor(4) as threads:
            submitting = [threads.submit(submit) for _ in range(4)]
            wait_until(lambda: len(accepted) > 50, 20, "jobs are accepted")
            assert program.stop(deadline_s=20) == 0
            for each in submitting:
                each.result(20)
        assert len(rows.jobs(accepted)) == len(set(accepted)) == len(accepted)


def test_a_process_that_cannot_be_replaced_yet_ends_no_other(api: MakeApi, tmp_path: Path) -> None:
    module = tmp_path / "handlers_that_go.py"
    module.write_text("import os, pathlib\n\npathlib.Path(__file__).with_name(f'loaded-by-{os.getpid()}').touch()\n")
    search = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"TASKHUB_API_PROCESSES": "2", "TASKHUB_HANDLERS": module.stem, "PYTHONPATH": search}
    with api(**own, PYTHONDONTWRITEBYTECODE="1") as program:
        wait_until(lambda: len(list(tmp_path.glob("loaded-by-*"))) == 2, 20, "both have loaded it")
        source = module.read_text()
        module.unlink()
        killed, other = program.children()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: program.events("api.cannot_begin"), 20, "it is told")
        wait_until(lambda: _takes_a_job(program), 10, "the other serves", every_s=0.1)
        assert other in program.children()
        module.write_text(source)
        os.kill(other, signal.SIGKILL)
        wait_until(lambda: _takes_a_job(program), 20, "another is there", every_s=0.1)


def _takes_a_job(program: Api) -> bool:
    try:
        with program.http() as client:
            return client.post("/jobs", {"payload": {"type": "echo"}}).status == 202
    except OSError:
        return False


@pytest.mark.long
def test_kills_of_api_processes_leave_few_metrics_files_and_no_counter_backwards(api: MakeApi) -> None:
    with api(TASKHUB_API_PROCESSES="2") as program:
        before = 0.0
        for _ in range(4):
            for _ in range(20):
                with program.http() as client:
                    client.submit("echo")
            for pid in program.children():
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: _counted(program) is not None, 20, "the API answers again", every_s=0.05)
            now = _counted(program)
            assert now is not None
            assert now >= before
            before = now
        assert before == 80
        [folder] = program.state.glob("api-metrics-*")
        assert {file.name for file in folder.iterdir()} <= _FILES_OF_TWO


def _counted(program: Api) -> float | None:
    try:
        return program.metrics().total("taskhub_jobs_submitted_total")
    except (OSError, AssertionError):
        return None


def test_it_says_where_it_listens_and_at_once_that_postgresql_is_away(api: MakeApi) -> None:
    running = api(TASKHUB_DATABASE_URL="postgresql://127.0.0.1:1/db")
    running.start()
    try:
        told = wait_until(lambda: running.events("api.waits"), 20, f"it says so\n{running.tail()}")
        [listening] = running.events("api.listening")
        assert listening["message"] == f"listening on http://127.0.0.1:{running.port}"
        assert len(told) == 1
        assert "requests get 503 until it is there" in told[0]["message"]
    finally:
        running.stop()
