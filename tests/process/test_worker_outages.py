"""What a worker does while Redis or PostgreSQL is away, refuses, forgets or stands still."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import family_of
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, MORTAL, SOON, gap_s, place
from tests.harness.servers import Postgres, Redis
from tests.waiting import pause, stretched, wait_until

QUICK = {**SOON, **HANDLERS}
ENDS = ("child.exited", "child.stalled", "role.hangs", "sidecar.exited", "sidecar.stalled")
BACK_S = 10  # from a server's return to the next job
# A third of the shipped times: a server that does not answer is given up, and a child that is silent is replaced.
IMPATIENT = {
    "TASKHUB_INTERNAL_PG_STATEMENT_S": "1.5",
    "TASKHUB_INTERNAL_PG_CONNECT_S": "1.7",
    "TASKHUB_INTERNAL_STALL_S": "8",
}


def ticks(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_used(running: Worker, over_s: float) -> float:
    """Processor time of a worker's whole family over a while."""
    family = family_of(running.pid)
    before = sum(map(ticks, family))
    pause(over_s)
    return sum(map(ticks, family)) - before


# Redis


@pytest.mark.long
def test_without_redis_two_children_run_five_hundred_jobs_a_second_in_order_of_priority_and_due_retries(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    with worker(**QUICK, TASKHUB_REDIS_URL=frail_redis.url) as running:
        members = running.children()
        frail_redis.stop()
        warm = rows.add(50, type="ledger.noop", payload='{"type":"ledger.noop"}')
        rows.wait_counts({"completed": 50}, 15)
        payload = '{"type":"ledger.noop"}'
        low = rows.add(1500, type="ledger.noop", payload=payload, priority=1)
        high = rows.add(1500, type="ledger.noop", payload=payload, priority=8)
        [failing] = rows.add(type="ledger.fail", payload='{"type":"ledger.fail","times":2}', priority=8)
        rows.wait_counts({"completed": 3051}, 30)
        assert len(running.events("redis.lost")) <= len(members) + 1, "one line for each process"
        used_s = seconds_used(running, 3)
        assert used_s < stretched(3 * 0.3), f"{used_s:.2f} s of processor time in 3 s of idleness"
        frail_redis.start()
        wait_until(lambda: len(running.events("redis.back")) >= 2, BACK_S, "both children return")
        broker = Broker(frail_redis.url, timeout_s=5)
        made = place(rows, broker, "ledger.noop", count=50)
        broker.close()
        rows.wait_counts({"completed": 3101}, 10)
        assert running.children() == members
    starts = {entry.job: entry.at_ns for entry in ledger.entries("start")}
    took = gap_s(min(starts[job] for job in low + high), max(starts[job] for job in low + high))
    assert took <= stretched(3000 / 500)
    middle = sorted(starts[job] for job in low)[750]
    assert sum(starts[job] < middle for job in high) >= 1400
    assert ledger.executions() == Counter([*warm, *low, *high, *[failing] * 3, *made])


@pytest.mark.slow
def test_r5_a_full_redis_holds_up_nothing_that_is_committed(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    with worker(**QUICK, TASKHUB_REDIS_URL=frail_redis.url) as running, frail_redis.client() as client:
        rows.sql("SELECT taskhub_know_queue('default', 4)")
        wait_until(lambda: client.keys("*epoch*"), 10, "the worker is at home in this Redis")
        client.config_set("maxmemory", 1)
        fresh = rows.add(20, type="ledger.noop", payload='{"type":"ledger.noop"}')
        due = rows.add(20, type="ledger.noop", payload='{"type":"ledger.noop"}', run_at="=clock_timestamp()")
        rows.wait_counts({"completed": 40}, 20)
        client.config_set("maxmemory", 0)
        broker = Broker(frail_redis.url, timeout_s=5)
        made = place(rows, broker, "ledger.noop", count=20)
        broker.close()
        rows.wait_counts({"completed": 60}, BACK_S)
        assert running.events("child.exited") == []
    assert ledger.executions() == Counter([*fresh, *due, *made])


def test_r9_a_redis_that_became_a_replica_is_as_good_as_away_and_taken_up_again_when_it_writes(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    with worker(**QUICK, TASKHUB_REDIS_URL=frail_redis.url) as running, frail_redis.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        made = rows.add(50, type="ledger.noop", payload='{"type":"ledger.noop"}')
        rows.wait_counts({"completed": 50}, 15)
        wait_until(lambda: len(running.events("redis.lost")) >= 2, BACK_S, "both children have noticed")
        client.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: len(running.events("redis.back")) >= 2, BACK_S, "both children return")
        broker = Broker(frail_redis.url, timeout_s=5)
        made += place(rows, broker, "ledger.noop", count=50)
        broker.close()
        rows.wait_counts({"completed": 100}, 10)
        assert running.events("child.exited") == []
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_r1_and_r14_a_flushed_redis_loses_neither_waiting_jobs_nor_retries(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    broker = Broker(frail_redis.url, timeout_s=5)
    with (
        worker(**QUICK | {"TASKHUB_RETRY_BASE_S": "2", "TASKHUB_RETRY_CAP_S": "2"}, TASKHUB_REDIS_URL=frail_redis.url),
        frail_redis.client() as client,
    ):
        failing = place(rows, broker, "ledger.fail", {"times": 1}, count=10)
        wait_until(lambda: ledger.starts() == 10, 10, "all have failed once")
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.02}, count=300)
        wait_until(lambda: ledger.starts() > 60, 10, "they run")
        client.flushall()
        flushed = time.monotonic()
        seen = ledger.starts()
        wait_until(lambda: ledger.starts() > seen + 40, 10, "dispatch has resumed")
        assert time.monotonic() - flushed <= stretched(5 + 1)
        rows.wait_counts({"completed": 310}, 30)
    broker.close()
    assert ledger.executions() == Counter([*failing, *failing, *made])


@pytest.mark.long
def test_r2_a_redis_rewound_by_ten_seconds_loses_and_doubles_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    """It comes back with what it held ten seconds before: ids long done, and none of the newer ones."""
    broker = Broker(frail_redis.url, timeout_s=5)
    with worker(**QUICK, TASKHUB_REDIS_URL=frail_redis.url):
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.05}, count=150)
        wait_until(lambda: ledger.starts() > 20, 10, "they run")
        with frail_redis.client() as client:
            snapshot = {key: client.dump(key) for key in client.keys("*")}
        pause(2)
        made += place(rows, broker, "ledger.sleep", {"seconds": 0.05}, count=100)
        pause(8)
        made += place(rows, broker, "ledger.noop", count=50)
        with frail_redis.client() as client:
            pipeline = client.pipeline(transaction=True)
            pipeline.flushall()
            for key, value in snapshot.items():
                if value is not None:  # a list may empty between being named and being read
                    pipeline.restore(key, 0, value)
            pipeline.execute()
        rows.wait_counts({"completed": 300}, 20)
    broker.close()
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_r8_a_redis_that_stands_still_holds_up_jobs_only_as_long_as_a_call_to_it_may_take(
    worker: MakeWorker, ledger: Ledger, rows: Rows, frail_redis: Redis
) -> None:
    """At a quarter of the shipped times."""
    quick = {**QUICK, "TASKHUB_INTERNAL_BLOCK_S": "0.5", "TASKHUB_INTERNAL_REDIS_WORKER_S": "1"}
    with worker(**quick, TASKHUB_REDIS_URL=frail_redis.url) as running:
        members = running.children()
        frail_redis.signal(signal.SIGSTOP)
        stopped = time.monotonic_ns()
        made = rows.add(50, type="ledger.noop", payload='{"type":"ledger.noop"}')
        rows.wait_counts({"completed": 50}, 25)
        assert gap_s(stopped, ledger.entries("start")[0].at_ns) <= stretched(10 / 4 + 1)
        pause(max(0.0, 8 - gap_s(stopped, time.monotonic_ns())))
        frail_redis.signal(signal.SIGCONT)
        wait_until(lambda: len(running.events("redis.back")) >= 2, BACK_S, "both children return")
        assert len(running.events("redis.lost")) <= 4
        assert running.children() == members
    assert ledger.executions() == Counter(made)


# PostgreSQL


def restart(server: Postgres, number: signal.Signals, away_s: float) -> None:
    """Take the server away for a while, in the manner of a signal."""
    if number == signal.SIGSTOP:
        server.freeze()
        pause(away_s)
        server.thaw()
        return
    server.stop() if number == signal.SIGINT else server.kill()
    pause(away_s)
    server.start()


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "away_s"),
    [
        (signal.SIGINT, 3.0),
        (signal.SIGQUIT, 3.0),
        (signal.SIGSTOP, 10.0),
    ],
    ids=["restarted", "crashed", "frozen"],
)
def test_while_postgresql_is_away_no_process_ends_and_what_is_alive_is_not_run_again(
    worker: MakeWorker,
    ledger: Ledger,
    redis_url: str,
    frail_postgres: Postgres,
    number: signal.Signals,
    away_s: float,
) -> None:
    """Two workers at shortened times of death, jobs that end before, during and after the outage."""
    url, broker = frail_postgres.url("postgres"), Broker(redis_url, timeout_s=5)
    settings = QUICK | MORTAL | IMPATIENT | {"TASKHUB_DATABASE_URL": url}
    with worker("left", **settings) as left, worker("right", **settings) as right:
        rows = Rows(url)
        wait_until(lambda: rows.value("SELECT count(*) FROM workers") == 2, 10, "both are registered")
        names = {row["id"] for row in rows.sql("SELECT id FROM workers")}
        made = place(rows, broker, "ledger.sleep", {"seconds": 1.5}, count=1)
        made += place(rows, broker, "ledger.sleep", {"seconds": away_s + 3}, count=2)
        wait_until(lambda: ledger.starts() == 3, 15, "they run")
        made += place(rows, broker, "ledger.sleep", {"seconds": 0.05}, count=100)
        wait_until(lambda: ledger.starts() > 10, 15, "more run beside them")
        rows.close()
        members = family_of(left.pid) + family_of(right.pid)
        restart(frail_postgres, number, away_s)
        back = time.monotonic_ns()
        rows = Rows(url)
        seen = ledger.starts()
        wait_until(lambda: ledger.starts() > seen or rows.counts() == {"completed": 103}, 20, "jobs go on")
        assert gap_s(back, time.monotonic_ns()) <= stretched(15)
        rows.wait_counts({"completed": 103}, 30)
        ends = [event for each in (left, right) for event in each.events() if event["event"] in ENDS]
        assert family_of(left.pid) + family_of(right.pid) == members, ends
        assert {row["id"] for row in rows.sql("SELECT id FROM workers WHERE NOT expired")} == names
        for running in (left, right):
            assert len(running.events("postgres.lost")) <= 2 * 3, "one line for each change of state"
        rows.close()
    broker.close()
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_without_postgresql_a_worker_is_live_not_ready_and_calm(worker: MakeWorker, frail_postgres: Postgres) -> None:
    with worker(**QUICK, TASKHUB_DATABASE_URL=frail_postgres.url("postgres"), TASKHUB_INTERNAL_STALL_S="3") as running:
        members = running.children()
        frail_postgres.stop()
        pause(2)
        used_s = seconds_used(running, 5)
        assert used_s < stretched(5 * 0.3), f"{used_s:.2f} s of processor time in 5 s"
        with running.http() as client:
            assert client.get("/livez").status == 200
            assert client.get("/readyz").status == 503
        assert running.children() == members
        frail_postgres.start()
        running.wait_ready()
