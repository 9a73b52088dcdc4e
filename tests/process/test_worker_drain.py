"""A worker that stops, reloads or rests: jobs are neither harmed nor charged."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive, family_of
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, place
from tests.waiting import pause, stretched, wait_for_value, wait_until

QUICK = {**SOON, **HANDLERS, "TASKHUB_INTERNAL_BLOCK_S": "0.5"}


def caught(pid: int, number: signal.Signals) -> bool:
    """True once a process has a handler for a signal."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


# Stop


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_finishes_what_runs_gives_back_the_rest_and_leaves_no_trace(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, redis: Redis, number: signal.Signals
) -> None:
    running = worker(**QUICK)
    running.start()
    running.wait_ready()
    made = place(rows, broker, "ledger.sleep", {"seconds": 0.8}, count=10)
    wait_until(lambda: ledger.starts() == 2, 10, "two jobs run")
    began = time.monotonic()
    running.signal(number)
    assert running.wait(10) == 0
    assert time.monotonic() - began <= stretched(5 + 2)
    assert rows.counts() == {"completed": 2, "queued": 8}
    untouched = rows.sql("SELECT DISTINCT attempts, interruptions, crashes FROM jobs WHERE status = 'queued'")
    assert untouched == [{"attempts": 0, "interruptions": 0, "crashes": 0}]
    assert rows.value("SELECT count(*) FROM workers") == rows.value("SELECT count(*) FROM slots") == 0
    assert rows.value("SELECT count(*) FROM job_errors") == 0
    assert redis.keys("*inflight*") == []
    with worker("next", **QUICK):
        rows.wait_counts({"completed": 10}, 15)
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_w25_a_job_that_outlasts_the_drain_is_given_back_as_interrupted_and_its_attempt_is_not_spent(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    running = worker(**QUICK | {"TASKHUB_DRAIN_S": "0.5"})
    running.start()
    running.wait_ready()
    [job] = place(rows, broker, "ledger.sleep", {"seconds": 3}, max_attempts=2)
    wait_until(lambda: ledger.starts() == 1, 10, "the job runs")
    members = family_of(running.pid)
    began = time.monotonic()
    assert running.stop() == 0
    assert 0.5 <= time.monotonic() - began <= stretched(0.5 + 2)
    assert not any(map(alive, members))
    row = rows.job(job)
    assert (row["status"], row["attempts"], row["interruptions"], row["crashes"]) == ("queued", 1, 1, 0)
    assert row["run_at"] is not None
    assert rows.errors(job) == []
    with worker("next", **QUICK):
        rows.wait_counts({"completed": 1}, 15)
    assert ledger.executions()[job] == 2


def test_a_job_of_one_attempt_that_outlasts_the_drain_fails_as_interrupted(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    running = worker(**QUICK | {"TASKHUB_DRAIN_S": "0.2"})
    running.start()
    running.wait_ready()
    [job] = place(rows, broker, "ledger.sleep", {"seconds": 3}, max_attempts=1)
    wait_until(lambda: ledger.starts() == 1, 10, "the job runs")
    assert running.stop() == 0
    row = rows.job(job)
    assert (row["status"], row["failure_reason"], row["error"]["cause"]) == (
        "failed",
        "attempts_exhausted",
        "interrupted",
    )
    assert ledger.executions()[job] == 1


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGQUIT,)])
def test_asked_to_stop_now_a_worker_gives_everything_back_at_once(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, numbers: tuple[signal.Signals, ...]
) -> None:
    running = worker(**QUICK | {"TASKHUB_DRAIN_S": "60"})
    running.start()
    running.wait_ready()
    made = place(rows, broker, "ledger.sleep", {"seconds": 60}, count=2)
    wait_until(lambda: ledger.starts() == 2, 10, "both jobs run")
    began = time.monotonic()
    for count, number in enumerate(numbers, 1):
        running.signal(number)
        wait_until(lambda count=count: len(running.events("worker.draining")) == count, 5, "it has heard")
    assert running.wait(10) == 0
    assert time.monotonic() - began <= stretched(2 + 1)
    assert {(row["status"], row["interruptions"]) for row in rows.jobs(made)} == {("queued", 1)}


def test_a_stop_sent_to_every_process_of_the_worker_does_no_harm(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    running = worker(**QUICK)
    running.start()
    running.wait_ready()
    made = place(rows, broker, "ledger.sleep", {"seconds": 1}, count=2)
    wait_until(lambda: ledger.starts() == 2, 10, "both jobs run")
    for pid in reversed(family_of(running.pid)):
        os.kill(pid, signal.SIGTERM)
    assert running.wait(10) == 0
    assert rows.counts() == {"completed": 2}
    assert {(row["attempts"], row["interruptions"]) for row in rows.jobs(made)} == {(1, 0)}


def test_a_stop_in_the_midst_of_a_slow_boot_ends_with_zero(worker: MakeWorker, tmp_path: Path) -> None:
    (tmp_path / "slow_handlers.py").write_text("import time\ntime.sleep(30)\n")
    running = worker(TASKHUB_HANDLERS="slow_handlers", PYTHONPATH=str(tmp_path))
    running.start()
    wait_until(lambda: caught(running.pid, signal.SIGTERM), 10, "it hears signals")
    began = time.monotonic()
    assert running.stop(10) == 0
    assert time.monotonic() - began <= stretched(2)


# Rest


@pytest.mark.slow
def test_a_quiet_worker_starts_nothing_stays_live_and_goes_on_when_told(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_INTERNAL_STALL_S="1") as running:
        members = running.job_children()
        running.signal(signal.SIGTSTP)
        wait_until(lambda: running.events("worker.quiet"), 5, "it has heard")
        pause(0.3)  # children that wait for the bell look up within a tenth of a second after it
        made = place(rows, broker, "ledger.noop", count=20)
        pause(2)
        with running.http() as client:
            assert client.get("/livez").status == 200
            assert client.get("/readyz").json["checks"]["quiet"] is True
        assert rows.counts() == {"queued": 20}
        assert running.job_children() == members, "rest is no stall"
        running.signal(signal.SIGCONT)
        rows.wait_counts({"completed": 20}, 10)
    assert ledger.executions() == Counter(made)


# Reload


def shop(folder: Path, version: str) -> None:
    """Write the handler module of a version of somebody's code; versions differ in length, for Python's own cache."""
    (folder / "shop.py").write_text(
        f"from taskhub import handler\n\n@handler('shop.version')\ndef version(job):\n    return {version!r}\n"
    )


@pytest.mark.slow
def test_a_reload_brings_new_code_and_settings_in_force_under_the_same_pid_and_interrupts_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, tmp_path: Path
) -> None:
    shop(tmp_path, "old")
    env_file = tmp_path / "settings"
    env_file.write_text("TASKHUB_WORKER_PROCESSES=2\nTASKHUB_LOG_LEVEL=info\n")
    settings = QUICK | {"TASKHUB_HANDLERS": QUICK["TASKHUB_HANDLERS"] + ",shop", "TASKHUB_ENV_FILE": str(env_file)}
    with worker(**settings, TASKHUB_WORKER_PROCESSES="", PYTHONPATH=str(tmp_path)) as running:
        pid, before = running.pid, set(running.job_children())
        worker_id = rows.value("SELECT id FROM workers")
        first = place(rows, broker, "shop.version", count=4)
        rows.wait_counts({"completed": 4}, 10)
        [long] = place(rows, broker, "ledger.until", {"file": str(tmp_path / "end")})
        wait_until(lambda: ledger.executions()[long], 10, "the long job runs")
        shop(tmp_path, "brand-new")
        env_file.write_text("TASKHUB_WORKER_PROCESSES=3\nTASKHUB_LOG_LEVEL=debug\n")
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: len(set(running.job_children()) - before) == 2, 10, f"two new children\n{running.tail()}")
        assert ledger.entries("end") == [], "the long job still runs"
        second = place(rows, broker, "shop.version", count=8)
        wait_until(lambda: rows.statuses(second) == ["completed"] * 8, 10, "they run beside the long one")
        (tmp_path / "end").touch()
        rows.wait_counts({"completed": 13}, 15)
        wait_until(lambda: not before & set(running.job_children()), 10, "no old child is left")
        wait_until(lambda: len(running.job_children()) == 3, 5, "the new number of children runs")
        assert [row["result"] for row in rows.jobs(first + second)] == ["old"] * 4 + ["brand-new"] * 8
        assert rows.value("SELECT id FROM workers WHERE NOT expired") == worker_id
        place(rows, broker, "ledger.noop")
        wait_until(lambda: running.events("job.started"), 5, "the new level of the log is in force")
        wait_for_value(lambda: running.metrics().total("jobs_processed_total", outcome="completed"), 14, 5, "the count")
    assert running.pid == pid
    assert rows.value("SELECT sum(interruptions + crashes) FROM jobs") == 0
    assert ledger.executions()[long] == 1


@pytest.mark.parametrize(
    ("broken", "told"),
    [("shop.py", "'shop'"), ("settings", "TASKHUB_WORKER_PROCESSES")],
)
def test_a_reload_of_what_cannot_work_changes_nothing_and_says_why(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, tmp_path: Path, broken: str, told: str
) -> None:
    shop(tmp_path, "old")
    (tmp_path / "settings").write_text("TASKHUB_WORKER_PROCESSES=2\n")
    settings = QUICK | {"TASKHUB_HANDLERS": "shop", "TASKHUB_ENV_FILE": str(tmp_path / "settings")}
    with worker(**settings, TASKHUB_WORKER_PROCESSES="", PYTHONPATH=str(tmp_path)) as running:
        before = family_of(running.pid)
        (tmp_path / broken).write_text("TASKHUB_WORKER_PROCESSES=many\nimport nothing_of_that_name\n")
        running.signal(signal.SIGHUP)
        [refusal] = wait_until(lambda: running.events("worker.reload_refused"), 15, "it is refused")
        assert told in refusal["message"]
        made = place(rows, broker, "shop.version", count=4)
        rows.wait_counts({"completed": 4}, 10)
        assert {row["result"] for row in rows.jobs(made)} == {"old"}
        assert family_of(running.pid) == before


@pytest.mark.slow
def test_a_reload_of_handlers_that_start_threads_is_no_failure(
    worker: MakeWorker, rows: Rows, broker: Broker, tmp_path: Path
) -> None:
    shop(tmp_path, "old")
    settings = QUICK | {"TASKHUB_HANDLERS": "shop"}
    with worker(**settings, PYTHONPATH=str(tmp_path)) as running:
        before = set(running.job_children())
        shop(tmp_path, "brand-new")
        with (tmp_path / "shop.py").open("a") as code:
            code.write("\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
        running.signal(signal.SIGHUP)
        wait_until(lambda: len(set(running.job_children()) - before) == 2, 15, f"new children\n{running.tail()}")
        wait_until(lambda: not before & set(running.job_children()), 10, "no old child is left")
        made = place(rows, broker, "shop.version", count=4)
        rows.wait_counts({"completed": 4}, 10)
        assert {row["result"] for row in rows.jobs(made)} == {"brand-new"}


@pytest.mark.long
def test_reloads_under_load_fail_double_and_charge_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_WORKER_PROCESSES="3") as running:
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.02}, count=800)
        for times in (1, 2, 3):
            before = set(running.job_children())
            running.signal(signal.SIGHUP)
            wait_until(
                lambda times=times, before=before: (
                    len(running.events("worker.reexecuting")) == times and not before & set(running.job_children())
                ),
                20,
                "all children are new",
            )
        rows.wait_counts({"completed": 800}, 40)
        assert _fewest(running.events(), 3) >= 2
    assert ledger.executions() == Counter(made)
    assert rows.value("SELECT sum(interruptions + crashes) + count(*) FILTER (WHERE attempts <> 1) FROM jobs") == 0


def _fewest(events: list[dict[str, object]], children: int) -> int:
    """The fewest children that the log ever tells of at once, once all had been started."""
    living, counts = 0, []
    for event in events:
        if event.get("event") == "worker.draining":
            break
        step = {"child.started": 1, "child.exited": -1}.get(str(event.get("event")), 0)
        living += step
        if step and (counts or living == children):
            counts.append(living)
    return min(counts)
