"""Children that are replaced: for their age, for their size, and because they do nothing."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, place
from tests.waiting import pause, wait_until

QUICK = {**SOON, **HANDLERS}


# Recycling


@pytest.mark.parametrize("limit", [1, 7])
def test_no_child_runs_more_jobs_than_it_may(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, limit: int
) -> None:
    count = limit * 6
    with worker(**QUICK, TASKHUB_MAX_JOBS_PER_CHILD=str(limit)) as running:
        made = place(rows, broker, "ledger.noop", count=count)
        rows.wait_counts({"completed": count}, 20)
        assert {event["status"] for event in running.events("child.exited")} == {"exit 0"}
    assert ledger.executions() == Counter(made)
    by_child = Counter(entry.pid for entry in ledger.entries("start"))
    assert max(by_child.values()) <= limit
    assert rows.value("SELECT sum(interruptions + crashes) FROM jobs") == 0


@pytest.mark.slow
def test_children_that_grow_too_large_are_replaced_between_jobs_one_at_a_time(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_MAX_RSS_MB="120", TASKHUB_INTERNAL_BLOCK_S="0.5") as running:
        before = running.job_children()
        made = place(rows, broker, "misbehaving_handlers.hoard", {"mb": 100, "seconds": 0.3}, count=2)
        rows.wait_counts({"completed": 2}, 15)
        made += place(rows, broker, "ledger.sleep", {"seconds": 0.2}, count=20)
        rows.wait_counts({"completed": 22}, 20)
        grown = {row["result"] for row in rows.jobs(made[:2])}
        wait_until(lambda: not grown & set(running.job_children()), 10, "those that had grown are gone")
        wait_until(lambda: len(running.job_children()) == 2, 5, "two children run")
        assert len(running.events("child.recycled")) >= len(grown)
        assert set(before) >= grown
        assert _never_two_missing(running.events())
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_a_job_that_takes_too_much_memory_costs_its_own_child_only_and_says_so(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_HARD_RSS_MB="200") as running:
        before = running.job_children()
        [neighbour] = place(rows, broker, "ledger.sleep", {"seconds": 3})
        wait_until(lambda: ledger.starts() == 1, 10, "a neighbour runs")
        [greedy] = place(rows, broker, "ledger.allocate", {"mb": 400, "seconds": 30}, max_attempts=2)
        rows.wait_counts({"failed": 1, "completed": 1}, 20)
        assert len(set(before) & set(running.job_children())) == 1
    errors = rows.errors(greedy)
    assert [error["cause"] for error in errors] == ["memory_limit"] * 2
    assert all(error["peak_rss_mb"] > 200 for error in errors)
    assert ledger.executions() == Counter({greedy: 2, neighbour: 1})


# Liveness


@pytest.mark.slow
def test_an_idle_child_that_stops_asking_for_work_is_replaced(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_INTERNAL_STALL_S="2", TASKHUB_INTERNAL_BLOCK_S="0.5") as running:
        silent, other = running.job_children()
        os.kill(silent, signal.SIGSTOP)
        began = time.monotonic()
        wait_until(lambda: not alive(silent), 10, "it is gone")
        assert time.monotonic() - began >= 1.4
        wait_until(lambda: len(running.job_children()) == 2, 5, "another is there")
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.2}, count=6)
        rows.wait_counts({"completed": 6}, 10)
        assert other in running.job_children()
        assert len({entry.pid for entry in ledger.entries("start")}) == 2
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_a_child_that_waits_is_not_replaced_while_the_queue_is_paused(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_INTERNAL_STALL_S="1", TASKHUB_INTERNAL_BLOCK_S="0.5") as running:
        members = running.job_children()
        rows.sql(
            "INSERT INTO queues (name, paused) VALUES ('default', true) ON CONFLICT (name) DO UPDATE SET paused = true"
        )
        made = place(rows, broker, "ledger.noop", count=5)
        pause(3)
        assert running.job_children() == members
        assert rows.counts() == {"queued": 5}
        rows.sql("UPDATE queues SET paused = false")
        rows.wait_counts({"completed": 5}, 10)
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_ready_jobs_that_nobody_claims_are_told_by_probe_and_metrics(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_QUEUES="other") as running:
        rows.sql("SELECT taskhub_know_queue('other', 4)")
        for pid in running.job_children():
            os.kill(pid, signal.SIGSTOP)
        place(rows, broker, "ledger.noop", queue="other")
        wait_until(lambda: (running.metrics().get("taskhub_unclaimed_seconds") or 0) > 1, 10, "the metric rises")
        with running.http() as client:
            assert client.get("/livez").json["checks"]["unclaimed_for_s"] >= 1
        for pid in running.job_children():
            os.kill(pid, signal.SIGCONT)
        rows.wait_counts({"completed": 1}, 10)
        wait_until(lambda: running.metrics().get("taskhub_unclaimed_seconds") == 0, 10, "the metric falls")


def _never_two_missing(events: list[dict[str, object]]) -> bool:
    """True if the log tells of no moment without two children, once there were."""
    living, counts = 0, []
    for event in events:
        step = {"child.started": 1, "child.exited": -1}.get(str(event.get("event")), 0)
        if event.get("event") == "worker.draining":
            break
        living += step
        if step and (counts or living == 2):
            counts.append(living)
    return min(counts) >= 1
