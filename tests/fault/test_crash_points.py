"""Death at each point of the main path: what repairs it, and that nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import family_of
from tests.harness.rows import Rows, submit
from tests.waiting import pause, stretched, wait_until

# Ten times as fast as shipped.
QUICK = {
    "TASKHUB_INTERNAL_HEARTBEAT_S": "0.5",
    "TASKHUB_INTERNAL_VALIDITY_S": "1",
    "TASKHUB_INTERNAL_WORKER_DEAD_S": "1.5",
    "TASKHUB_INTERNAL_RESCUE_HEALTHY_S": "1.5",
    "TASKHUB_INTERNAL_RECOVER_S": "0.2",
    "TASKHUB_INTERNAL_BOOT_BACKOFF_CAP_S": "1",
}
TAKEOVER_S = 10.0


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worker.before_claim", "worker.after_claim"])
def test_jobs_whose_claimers_all_die_run_once_on_another_worker(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, point: str
) -> None:
    dying = worker("dying", **QUICK, TASKHUB_FAILPOINTS=f"{point}=kill")
    dying.start()
    made = submit(store, broker, "ledger.noop", 20)
    wait_until(lambda: len(dying.events("child.exited")) >= 3, 15, "children die")
    assert rows.value("SELECT sum(crashes) FROM jobs") == 0, "a job was charged that had never started"
    with worker("next", **QUICK):
        dying.kill()
        rows.wait_counts({"completed": 20}, TAKEOVER_S)
    assert ledger.executions() == Counter(made)


def test_a_child_that_dies_after_it_settled_repeats_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker(**QUICK, TASKHUB_FAILPOINTS="worker.after_settle=kill"):
        made = submit(store, broker, "ledger.noop", 20)
        rows.wait_counts({"completed": 20}, 20)
    assert ledger.executions() == Counter(made)
    assert rows.value("SELECT sum(crashes) FROM jobs") == 0


@pytest.mark.slow
def test_a_sidecar_that_dies_between_closing_a_slot_and_rescuing_loses_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    dying = worker("dying", **QUICK, TASKHUB_FAILPOINTS="rescue.after_close=kill")
    dying.start()
    [job] = submit(store, broker, "ledger.kill_self", times=1)
    wait_until(lambda: rows.value("SELECT count(*) FROM slots WHERE closed"), 15, "the slot is closed")
    with worker("next", **QUICK):
        dying.kill()
        rows.wait_counts({"completed": 1}, TAKEOVER_S)
    assert (ledger.executions()[job], rows.job(job)["crashes"]) == (2, 1)


@pytest.mark.slow
def test_what_was_finished_is_settled_from_the_journal_and_not_run_again(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    """PostgreSQL's rows are locked, so that nothing can be settled before the child dies."""
    with worker(**QUICK, TASKHUB_WORKER_PROCESSES="1", TASKHUB_INTERNAL_BATCH_BUDGET_S="30") as running:
        submit(store, broker, "ledger.noop", 5)  # its type's duration is known from then on
        rows.wait_counts({"completed": 5}, 15)
        made = submit(store, broker, "ledger.sleep", 1, seconds=0.05)
        rows.wait_counts({"completed": 6}, 15)
        made = submit(store, broker, "ledger.noop", 10) + made
        rows.wait_counts({"completed": 16}, 15)
        batch = submit(store, broker, "ledger.sleep", 6, seconds=0.3)
        wait_until(lambda: len(ledger.entries("end")) >= 19, 15, "three of the batch are finished")
        running.kill_child()
        rows.wait_counts({"completed": 22}, 15)
    counted = ledger.executions()
    assert sum(counted[job] for job in batch) <= len(batch) + 1
    assert rows.value("SELECT sum(crashes) FROM jobs") <= 1
    assert set(made) <= set(counted)


# The worker as a whole


@pytest.mark.slow
def test_a_lost_hosts_jobs_run_again_on_another(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, tmp_path: Path
) -> None:
    lost, end = worker("lost", **QUICK), tmp_path / "end"
    lost.start()
    made = submit(store, broker, "ledger.until", 2, file=str(end))
    wait_until(lambda: ledger.starts() == 2, 15, "both children work")
    with worker("other", **QUICK):
        lost.kill()
        began = time.monotonic()
        wait_until(lambda: ledger.starts() == 4, TAKEOVER_S, "both run again")
        assert time.monotonic() - began < stretched(6)
        end.touch()
        rows.wait_counts({"completed": 2}, 15)
        wait_until(lambda: rows.value("SELECT count(*) FROM workers") == 1, 10, "the lost worker is forgotten")
    assert [[error["cause"] for error in rows.errors(job)] for job in made] == [["worker_lost"]] * 2


@pytest.mark.long
def test_a_frozen_worker_that_wakes_after_its_time_settles_nothing_and_comes_back_as_another(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker("frozen", **QUICK) as frozen:
        [job] = submit(store, broker, "ledger.sleep", seconds=1)
        wait_until(lambda: ledger.starts() == 1, 15, "the job runs")
        before = rows.value("SELECT id FROM workers")
        members = family_of(frozen.pid)
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        with worker("other", **QUICK):
            rows.wait_counts({"completed": 1}, TAKEOVER_S + 5)
            settled = rows.job(job)
            for pid in reversed(members):
                os.kill(pid, signal.SIGCONT)
            again = "SELECT count(*) FROM workers WHERE host = (SELECT min(host) FROM workers) AND NOT expired"
            wait_until(lambda: rows.value(again) == 2, 15, "the frozen worker is registered under a new name")
            again = submit(store, broker, "ledger.noop", 20)
            rows.wait_counts({"completed": 21}, 15)
            assert before not in {row["id"] for row in rows.sql("SELECT id FROM workers WHERE NOT expired")}
    assert rows.job(job) == settled
    assert ledger.executions() == Counter({job: 2, **dict.fromkeys(again, 1)})


@pytest.mark.slow
def test_two_children_and_the_sidecar_killed_together_cost_one_execution_each(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        made = submit(store, broker, "ledger.sleep", 2, seconds=2)
        wait_until(lambda: ledger.starts() == 2, 15, "both children work")
        began = time.monotonic()
        for pid in running.children():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ledger.starts() == 4, 10, "both run again")
        assert time.monotonic() - began < stretched(3)
        rows.wait_counts({"completed": 2}, 15)
        wait_until(lambda: running.events("job.rescued"), 5, "the rescue is in the log")
    assert [rows.job(job)["crashes"] for job in made] == [1, 1]


@pytest.mark.slow
def test_a_worker_survives_kills_of_everything_below_it_at_random(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    kills = 0
    with worker(**QUICK) as running:
        made = submit(store, broker, "ledger.sleep", 200, seconds=0.02)
        while rows.counts().get("completed", 0) < 200:
            for pid in running.children()[kills % 3 :: 3]:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            pause(0.7)
            assert kills < 60, rows.counts()
    assert set(ledger.executions()) == set(made)
    assert ledger.starts() - 200 <= kills
