"""What a deploy does to the files of a running worker is nothing to it before it is told to reload."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import redis as redis_client

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.programs import ROOT, Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, place
from tests.harness.watched import VARIABLE
from tests.waiting import wait_until

WATCHED = {"TASKHUB_HANDLERS": HANDLERS["TASKHUB_HANDLERS"] + ",tests.harness.watched"}
LOSE_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'taskhub %'"


def live(running: Worker, rows: Rows, broker: Broker, redis: redis_client.Redis) -> None:
    """Everything that may befall a worker's jobs, its processes and its connections."""
    ended = rows.counts()
    place(rows, broker, "ledger.noop", count=20)
    place(rows, broker, "ledger.fail", {"times": 1})
    place(rows, broker, "ledger.fail", max_attempts=1)
    place(rows, broker, "ledger.sleep", {"seconds": 60}, timeout_s=1, max_attempts=1)
    place(rows, broker, "ledger.kill_self")
    rows.wait_counts({"completed": ended.get("completed", 0) + 21, "failed": ended.get("failed", 0) + 3}, 30)
    for path in ("/metrics", "/livez", "/readyz", "/nothing"):
        with running.http() as client:
            client.get(path)
    running.signal(signal.SIGUSR1)
    [sidecar] = set(running.children()) - set(running.job_children())
    os.kill(sidecar, signal.SIGKILL)
    rows.sql(LOSE_SESSIONS)
    redis.client_kill_filter(_type="normal")
    place(rows, broker, "ledger.noop", count=20)
    rows.wait_counts({"completed": ended.get("completed", 0) + 41, "failed": ended.get("failed", 0) + 3}, 30)
    running.wait_ready()


@pytest.mark.slow
def test_once_started_nothing_of_the_installation_is_opened_or_imported(
    worker: MakeWorker, rows: Rows, broker: Broker, redis: redis_client.Redis, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with worker(**SOON, **WATCHED, **{VARIABLE: str(told)}, TASKHUB_LOG_LEVEL="debug") as running:
        live(running, rows, broker, redis)
        [long] = place(rows, broker, "ledger.sleep", {"seconds": 60})
        wait_until(lambda: rows.job(long)["status"] == "running", 10, "it runs")
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
        assert running.wait(10) == 0
    assert told.read_text().splitlines() == []


@pytest.mark.long
def test_a_worker_whose_files_are_gone_goes_on(
    worker: MakeWorker, rows: Rows, broker: Broker, redis: redis_client.Redis, tmp_path: Path
) -> None:
    site, away = tmp_path / "site", tmp_path / "away"
    for package in ("taskhub", "supervisor", "tests", "db"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    made = worker(**SOON, **HANDLERS)
    made.folder = site
    with made as running:
        site.rename(away)
        live(running, rows, broker, redis)
        site.symlink_to(away)
        running.signal(signal.SIGHUP)
        wait_until(lambda: running.events("worker.reexecuting"), 20, "new code is in force")
        running.wait_ready()
        live(running, rows, broker, redis)


@pytest.mark.long
def test_a_worker_that_was_declared_dead_waits_for_files_to_restart(
    worker: MakeWorker, rows: Rows, broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("import tests.harness.handlers\n")
    settings = {**SOON, "TASKHUB_HANDLERS": "shop", "PYTHONPATH": str(tmp_path), "TASKHUB_INTERNAL_HEARTBEAT_S": "0.3"}
    with worker(**settings) as running:
        (tmp_path / "shop.py").rename(tmp_path / "away.py")
        rows.sql("UPDATE workers SET expired = true")
        [told] = wait_until(lambda: running.events("worker.cannot_begin"), 60, f"it waits\n{running.tail()}")
        assert "shop" in told["message"]
        assert not running.has_ended()
        (tmp_path / "away.py").rename(tmp_path / "shop.py")
        made = place(rows, broker, "ledger.noop", count=3)
        wait_until(lambda: rows.statuses(made) == ["completed"] * 3, 90, f"it is back\n{running.tail()}")
        assert len(running.events("worker.cannot_begin")) == 1
        running.signal(signal.SIGTERM)
        assert running.wait(30) == 0
