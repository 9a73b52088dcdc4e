"""What waits: fresh jobs and those due again share a queue, and the metrics tell how many there are."""

from __future__ import annotations

import pytest

from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows, submit
from tests.waiting import wait_for_value, wait_until

ALONE = {"TASKHUB_WORKER_PROCESSES": "1"}


@pytest.mark.slow
def test_fresh_jobs_and_those_due_again_do_not_keep_each_other_out(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    payload = '{"type":"ledger.sleep","seconds":0.01}'
    due = rows.add(200, type="ledger.sleep", payload=payload, run_at="=clock_timestamp()")
    with worker(**ALONE):
        wait_until(lambda: ledger.starts() > 5, 15, "due jobs run")
        fresh = submit(store, broker, "ledger.sleep", 200, seconds=0.01)
        rows.wait_counts({"completed": 400}, 30)
    first = {entry.job for entry in ledger.entries("start")[:250]}
    assert len(first & set(due)) >= 50
    assert len(first & set(fresh)) >= 50


@pytest.mark.long
def test_the_metrics_count_what_waits_what_runs_and_what_is_done(
    worker: MakeWorker, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker(**ALONE) as running:
        submit(store, broker, "ledger.sleep", 4, seconds=2)
        wait_for_value(lambda: running.metrics().get("queue_depth", queue="default"), 3.0, 10, "the queue's depth")
        assert running.metrics().get("worker_active_processes") == 1
        rows.wait_counts({"completed": 4}, 20)
        done = {"queue": "default", "type": "ledger.sleep"}
        wait_for_value(
            lambda: running.metrics().get("jobs_processed_total", outcome="completed", **done), 4.0, 10, "the counter"
        )
        assert running.metrics().get("queue_depth", queue="default") == 0
        assert running.metrics().get("job_processing_duration_seconds_count", **done) == 4
