"""Several queues and ten priorities on one worker: order, weights, and nobody who waits for ever."""

from __future__ import annotations

import pytest

from taskhub.broker.broker import Broker
from taskhub.domain.job import PRIORITIES
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows

pytestmark = pytest.mark.timeout(90)


def add(rows: Rows, broker: Broker, count: int, queue: str, priority: int = 4, seconds: float = 0.005) -> list[str]:
    """Commit jobs of a few milliseconds and push them."""
    payload = f'{{"type":"ledger.sleep","seconds":{seconds}}}'
    made = rows.add(count, queue=queue, priority=priority, type="ledger.sleep", payload=payload)
    broker.push(queue, priority, made)
    return made


def test_higher_priorities_run_first(worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker) -> None:
    by_priority = {priority: add(rows, broker, 5, "default", priority) for priority in reversed(PRIORITIES)}
    with worker(TASKHUB_WORKER_PROCESSES="1", TASKHUB_INTERNAL_BATCH_BUDGET_S="0.001"):
        rows.wait_counts({"completed": 50}, 30)
    started = [entry.job for entry in ledger.entries("start")]
    assert started == [job for priority in PRIORITIES for job in by_priority[priority]]


@pytest.mark.slow
def test_queues_share_the_worker_by_weight_and_none_starves(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    owner = {job: name for name in ("heavy", "light") for job in add(rows, broker, 300, name)}
    with worker(
        TASKHUB_WORKER_PROCESSES="1", TASKHUB_QUEUES="heavy=4,light=1", TASKHUB_INTERNAL_BATCH_BUDGET_S="0.001"
    ):
        rows.wait_counts({"completed": 600}, 60)
    first = [owner[entry.job] for entry in ledger.entries("start")][:200]
    assert 25 <= first.count("light") <= 60, "a fifth of the turns, while both queues have jobs"


def test_a_worker_that_serves_all_learns_of_a_queue_that_comes_later(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker():
        add(rows, broker, 10, "brand-new")
        rows.wait_counts({"completed": 10}, 15)


def test_a_worker_leaves_queues_alone_that_it_does_not_serve(worker: MakeWorker, rows: Rows, broker: Broker) -> None:
    with worker(TASKHUB_QUEUES="mine"):
        add(rows, broker, 5, "others")
        add(rows, broker, 5, "mine")
        rows.wait_counts({"completed": 5, "queued": 5}, 15)


@pytest.mark.slow
def test_a_paused_queue_keeps_its_jobs_and_goes_on_when_resumed(worker: MakeWorker, rows: Rows, broker: Broker) -> None:
    rows.sql("SELECT taskhub_know_queue('calm', 4)")
    rows.sql("UPDATE queues SET paused = true WHERE name = 'calm'")
    with worker():
        add(rows, broker, 20, "calm")
        add(rows, broker, 20, "busy")
        rows.wait_counts({"completed": 20, "queued": 20}, 15)
        rows.sql("UPDATE queues SET paused = false WHERE name = 'calm'")
        rows.wait_counts({"completed": 40}, 15)
