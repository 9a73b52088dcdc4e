"""Workers that stood still longer than they are believed to live, and then go on."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import family_of
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, MORTAL, SOON, place
from tests.waiting import pause, wait_until

QUICK = {**SOON, **HANDLERS, **MORTAL}
TAKEOVER_S = 20


def living(rows: Rows) -> set[str]:
    return {row["id"] for row in rows.sql("SELECT id FROM workers WHERE NOT expired")}


def send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def wait_restarted(running: Worker, rows: Rows, old: str) -> None:
    wait_until(lambda: running.events("worker.begins_anew"), 15, f"it restarts\n{running.tail()}")
    wait_until(lambda: len(living(rows)) == 2 and old not in living(rows), 15, "it is back under another name")
    running.wait_ready()


@pytest.mark.long
def test_w10_a_stopped_worker_that_goes_on_settles_nothing_counts_that_and_comes_back_under_a_new_name(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    """Its processes wake one after the other, so that what each does can be seen."""
    with worker("zombie", **QUICK) as zombie:
        [job] = place(rows, broker, "ledger.sleep", {"seconds": 1})
        wait_until(lambda: ledger.starts() == 1, 15, "the job runs")
        [old] = living(rows)
        members = family_of(zombie.pid)
        send(signal.SIGSTOP, members)
        with worker("other", **QUICK):
            rows.wait_counts({"completed": 1}, TAKEOVER_S)
            settled = rows.job(job)
            send(signal.SIGCONT, [pid for pid in members if pid != zombie.pid])
            wait_until(lambda: zombie.events("job.stale"), 10, "its settlement is refused")
            assert rows.job(job) == settled
            wait_until(lambda: zombie.metrics().get("taskhub_stale_writes_total") == 1, 5, "that is counted")
            made = place(rows, broker, "ledger.noop", count=20)
            rows.wait_counts({"completed": 21}, 10)
            own = {entry.pid for entry in ledger.entries("start") if entry.job in made}
            assert not own & set(members), "it starts nothing"
            send(signal.SIGCONT, [zombie.pid])
            wait_restarted(zombie, rows, old)
            wait_until(lambda: zombie.metrics().get("taskhub_stale_writes_total") == 1, 10, "the count goes on")
            more = place(rows, broker, "ledger.sleep", {"seconds": 0.2}, count=12)
            rows.wait_counts({"completed": 33}, 15)
            assert len({entry.pid for entry in ledger.entries("start") if entry.job in more}) == 4
    assert rows.job(job) == settled
    assert ledger.executions() == Counter([job, job, *made, *more])


@pytest.mark.long
def test_w14_a_supervisor_stopped_alone_takes_its_children_out_of_service_and_comes_back_under_a_new_name(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker("headless", **QUICK) as headless:
        place(rows, broker, "ledger.noop", count=4)
        rows.wait_counts({"completed": 4}, 10)
        [old] = living(rows)
        members = headless.children()
        send(signal.SIGSTOP, [headless.pid])
        with worker("other", **QUICK):
            wait_until(lambda: old not in living(rows), TAKEOVER_S, "it is declared dead")
            made = place(rows, broker, "ledger.sleep", {"seconds": 0.05}, count=40)
            rows.wait_counts({"completed": 44}, 15)
            assert not {entry.pid for entry in ledger.entries("start") if entry.job in made} & set(members)
            send(signal.SIGCONT, [headless.pid])
            wait_restarted(headless, rows, old)
            made += place(rows, broker, "ledger.sleep", {"seconds": 0.2}, count=12)
            rows.wait_counts({"completed": 56}, 15)
    counted = ledger.executions()
    assert {job: counted[job] for job in made} == dict.fromkeys(made, 1)


@pytest.mark.long
def test_w11_a_worker_stopped_between_claim_and_start_never_starts_what_it_had_claimed(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    frozen = worker("frozen", **QUICK, TASKHUB_FAILPOINTS="worker.after_claim=stop*1", TASKHUB_WORKER_PROCESSES="1")
    with frozen:
        [old] = living(rows)
        [child] = frozen.job_children()
        [job] = place(rows, broker, "ledger.noop")
        wait_until(lambda: rows.job(job)["status"] == "running", 10, "the job is claimed")
        send(signal.SIGSTOP, [pid for pid in family_of(frozen.pid) if pid != child])
        with worker("other", **QUICK):
            rows.wait_counts({"completed": 1}, TAKEOVER_S)
            send(signal.SIGCONT, [child])  # it alone: nobody tells it what has happened
            pause(1)
            assert {entry.pid for entry in ledger.entries("start")} & {child} == set()
            send(signal.SIGCONT, family_of(frozen.pid))
            wait_restarted(frozen, rows, old)
    assert ledger.executions() == Counter([job])
