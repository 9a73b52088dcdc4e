"""Jobs that somebody cancels while a worker holds them."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from taskhub.domain.errors import BlockedError
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeApi, MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive
from tests.harness.programs import Worker
from tests.harness.rows import Rows, run
from tests.harness.seed_jobs import HANDLERS, SOON, place
from tests.waiting import pause, stretched, wait_until

LIMIT_S = 7
QUICK = {**SOON, **HANDLERS}
LONG = {"ledger.sleep": 60, "misbehaving_handlers.family": 60, "ledger.spin": 30}


def cancel(store: Connection, job: str) -> str:
    """As the API does it; returns the status before."""
    [(status,)] = run(store, "cancel_job", id=job)
    return str(status)


@pytest.mark.long
def test_a_running_job_is_gone_with_its_processes_seven_seconds_after_its_cancellation(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    """At shipped timers."""
    made = []
    with worker(**QUICK) as running:
        for number, (type, seconds) in enumerate(LONG.items(), 1):
            [job] = place(rows, broker, type, {"seconds": seconds})
            wait_until(lambda job=job: ledger.executions()[job], 10, "the job runs")
            pause(0.2)
            began = time.monotonic()
            assert cancel(store, job) == "running", type
            wait_until(lambda job=job: rows.statuses([job]) == ["cancelled"], 15, f"the {type} is cancelled")
            assert time.monotonic() - began <= stretched(LIMIT_S), type
            assert [entry.pid for entry in ledger.entries("grandchild") if alive(entry.pid)] == []
            wait_until(lambda type=type: cancelled(running, type) == 1, 5, "counted")
            assert running.metrics().total("job_failures_total", type=type) == 0
            made += [job, *place(rows, broker, "ledger.noop", count=20)]
            rows.wait_counts({"cancelled": number, "completed": 20 * number}, 10)
            row = rows.job(job)
            assert (row["crashes"], row["attempts"], row["run_at"]) == (0, 1, None), type
    assert ledger.executions() == Counter(made)


def cancelled(running: Worker, type: str) -> float:
    return running.metrics().total("jobs_processed_total", type=type, outcome="cancelled")


@pytest.mark.slow
def test_what_a_child_has_prefetched_and_somebody_cancels_never_starts(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    """The relief thread is kept out, so that the batch stays with its child."""
    alone = {"TASKHUB_WORKER_PROCESSES": "1", "TASKHUB_INTERNAL_BATCH_BUDGET_S": "60"}
    with worker(**QUICK, **alone, TASKHUB_INTERNAL_SETTLE_WITHIN_S="60", TASKHUB_INTERNAL_INTERPRETER_HOLD_S="60"):
        place(rows, broker, "ledger.noop", count=50)
        rows.wait_counts({"completed": 50}, 15)
        [long] = rows.add(type="ledger.sleep", payload='{"type":"ledger.sleep","seconds":2}')
        behind = rows.add(6, type="ledger.noop", payload='{"type":"ledger.noop"}')
        broker.push("default", 4, [long, *behind])
        wait_until(lambda: rows.statuses(behind) == ["running"] * 6 and ledger.executions()[long], 10, "all are taken")
        assert {cancel(store, job) for job in behind[:4]} == {"running"}
        rows.wait_counts({"completed": 53, "cancelled": 4}, 15)
    assert rows.statuses(behind) == ["cancelled"] * 4 + ["completed"] * 2
    counted = ledger.executions()
    assert [counted[job] for job in behind] == [0] * 4 + [1] * 2
    assert {row["attempts"] for row in rows.jobs(behind[:4])} == {0}


@pytest.mark.slow
def test_w26_a_cancellation_that_races_the_completion_ends_in_one_of_both_and_never_in_another_execution(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_WORKER_PROCESSES="4"):
        made = []
        for step in range(24):
            [job] = place(rows, broker, "ledger.sleep", {"seconds": 0.2})
            made.append(job)
            wait_until(lambda job=job: ledger.executions()[job], 10, "the job runs", every_s=0.002)
            pause(0.1 + 0.006 * step)
            before = wait_until(lambda job=job: _cancel(store, job), 5, "its row is free")
            assert before in ("running", "completed")
            if before == "completed":
                assert rows.job(job)["status"] == "completed"
        wait_until(lambda: set(rows.statuses(made)) <= {"completed", "cancelled"}, 15, "all are over")
        pause(1)
    assert set(rows.statuses(made)) <= {"completed", "cancelled"}
    assert ledger.executions() == Counter(made)


def _cancel(store: Connection, job: str) -> str | None:
    """None while a settlement holds the row: whoever asks over HTTP waits for it."""
    try:
        return cancel(store, job)
    except BlockedError:
        return None


@pytest.mark.slow
def test_over_http_the_answer_to_a_cancellation_and_the_final_state_agree(
    api: MakeApi, worker: MakeWorker, ledger: Ledger, rows: Rows
) -> None:
    with api(**HANDLERS) as asked, worker(**QUICK, TASKHUB_WORKER_PROCESSES="1"), asked.http() as client:
        running = client.submit("ledger.sleep", {"seconds": 60})
        wait_until(lambda: ledger.starts() == 1, 10, "the job runs")
        queued = client.submit("ledger.noop")
        answer = client.post(f"/jobs/{queued}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
        answer = client.post(f"/jobs/{running}/cancel")
        assert answer.status == 202
        assert answer.json["cancel_requested_at"]
        rows.wait_counts({"cancelled": 2}, LIMIT_S + 3)
        assert client.post(f"/jobs/{running}/cancel").status == 200
        done = client.submit("ledger.noop")
        wait_until(lambda: client.job(done)["status"] == "completed", 10, "it is done")
        answer = client.post(f"/jobs/{done}/cancel")
        assert (answer.status, answer.json["code"], answer.json["job_status"]) == (409, "job_finished", "completed")
    assert ledger.executions() == Counter([running, done])
