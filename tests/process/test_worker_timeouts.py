"""Jobs that take longer than they may, whatever they do to stay; and their innocent neighbours."""

from __future__ import annotations

from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, gap_s, place
from tests.waiting import stretched, wait_until

QUICK = {**SOON, **HANDLERS, "TASKHUB_INTERNAL_KILL_GRACE_S": "0.5"}


@pytest.mark.slow
def test_an_overdue_job_gets_an_exception_and_its_child_lives_on(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_WORKER_PROCESSES="1") as running:
        [child] = running.job_children()
        for number, type in enumerate(("misbehaving_handlers.loop", "ledger.sleep", "ledger.ignore_term"), 1):
            [job] = place(rows, broker, type, {"seconds": 60}, timeout_s=0.4, max_attempts=2)
            rows.wait_counts({"failed": number}, 15)
            assert running.job_children() == [child], type
            wait_until(lambda type=type: timeouts(running, type) == 2, 5, "counted")
            entries = ledger.of(job)
            assert [entry.what for entry in entries] == ["start", "error"] * 2, type
            for start, end in zip(entries[::2], entries[1::2], strict=True):
                assert 0.4 <= gap_s(start.at_ns, end.at_ns) <= stretched(0.4 + 0.5), type
            row = rows.job(job)
            assert (row["failure_reason"], row["attempts"], row["crashes"]) == ("attempts_exhausted", 2, 0)
            assert [(error["type"], error["cause"]) for error in rows.errors(job)] == [("JobTimeout", "timeout")] * 2


def timeouts(running: Worker, type: str) -> float:
    return running.metrics().total("job_failures_total", type=type, queue="default", reason="timeout")


STAYING: dict[str, dict[str, float]] = {
    "ledger.swallow": {"seconds": 60},  # every exception
    "ledger.spin": {"seconds": 20},  # holds the interpreter in C
    "ledger.stop_self": {},
}


@pytest.mark.long
def test_w12_an_overdue_job_that_does_not_go_is_killed_after_the_grace(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        for number, (type, payload) in enumerate(STAYING.items(), 1):
            [job] = place(rows, broker, type, payload, timeout_s=0.5, max_attempts=2)
            rows.wait_counts({"failed": number}, 20)
            wait_until(lambda type=type: timeouts(running, type) == 2, 5, "both are counted")
            samples, labels = running.metrics(), {"queue": "default", "type": type}
            assert samples.get("jobs_processed_total", outcome="retried", **labels) == 1
            assert samples.get("jobs_processed_total", outcome="failed", **labels) == 1
            row = rows.job(job)
            assert (row["failure_reason"], row["attempts"], row["crashes"]) == ("attempts_exhausted", 2, 0)
            errors = rows.errors(job)
            assert [(error["type"], error["cause"]) for error in errors] == [("JobTimeout", "timeout")] * 2
            assert all(error["peak_rss_mb"] > 1 for error in errors)
            took = [(error["failed_at"] - error["started_at"]).total_seconds() for error in errors]
            assert all(1.0 <= seconds <= stretched(1.0 + 2) for seconds in took), (type, took)


@pytest.mark.slow
def test_the_processes_that_an_overdue_job_has_started_go_with_it(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK):
        [job] = place(rows, broker, "misbehaving_handlers.family", {"seconds": 60}, timeout_s=0.5, max_attempts=1)
        wait_until(lambda: len(ledger.entries("grandchild")) == 2, 10, "it has started two processes")
        rows.wait_counts({"failed": 1}, 15)
        assert [entry.pid for entry in ledger.entries("grandchild") if alive(entry.pid)] == []
    assert rows.job(job)["error"]["cause"] == "timeout"


@pytest.mark.long
def test_w29_a_kill_never_hits_the_next_innocent_job(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    """Jobs that swallow the exception and end just when they would be killed, each followed by innocent ones."""
    sharp = {**SOON, **HANDLERS, "TASKHUB_INTERNAL_KILL_GRACE_S": "0.05"}
    with worker(**sharp) as running:
        edgy, innocent = [], []
        for step in range(40):
            seconds = 0.2 + step * 0.004  # the kill comes two turns of the supervisor's loop after 0.1
            edgy += place(rows, broker, "ledger.swallow", {"seconds": seconds}, timeout_s=0.1, max_attempts=1)
            innocent += place(rows, broker, "misbehaving_handlers.innocent", count=5, timeout_s=60)
        wait_until(lambda: not rows.value("SELECT count(*) FROM jobs WHERE finished_at IS NULL"), 60, "all are over")
        kills = len(running.events("child.exited"))
    assert rows.statuses(innocent) == ["completed"] * 200
    counted = ledger.executions()
    assert Counter(counted[job] for job in innocent) == {1: 200}
    assert sum(row["crashes"] + row["interruptions"] for row in rows.jobs(innocent)) == 0
    assert 0 < kills < 42, "some were killed and some got away"
