"""The main promises on real programs, judged by the ledger that the handlers write."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeApi, MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import alive
from tests.harness.rows import Rows, submit
from tests.waiting import pause, stretched, wait_until


def seconds_to_finish(store: Connection, broker: Broker, rows: Rows, count: int) -> float:
    """How long it takes to run so many jobs of 20 ms, from the push to the last end."""
    done = rows.counts().get("completed", 0)
    began = time.monotonic()
    submit(store, broker, "ledger.sleep", count, seconds=0.02)
    rows.wait_counts({"completed": done + count}, 60)
    return time.monotonic() - began


# Submitted over HTTP


@pytest.mark.long
def test_jobs_posted_by_eight_clients_at_once_run_exactly_once(
    api: MakeApi, worker: MakeWorker, ledger: Ledger, rows: Rows
) -> None:
    with api() as running, worker():

        def post_many(_: int) -> list[str]:
            with running.http() as client:
                return [client.submit("ledger.noop") for _ in range(125)]

        with ThreadPoolExecutor(8) as clients:
            made = [job for batch in clients.map(post_many, range(8)) for job in batch]
        rows.wait_counts({"completed": 1_000}, 30)
    assert ledger.executions() == Counter(made)
    assert len(set(made)) == 1_000


@pytest.mark.slow
def test_of_jobs_that_always_fail_each_ends_as_a_dead_letter_after_its_attempts(
    api: MakeApi, worker: MakeWorker, ledger: Ledger, rows: Rows
) -> None:
    quick = {"TASKHUB_RETRY_BASE_S": "0.05", "TASKHUB_RETRY_CAP_S": "0.2", "TASKHUB_MAX_ATTEMPTS": "3"}
    with api(**quick) as running, worker(**quick) as working, running.http() as client:
        requests = [{"payload": {"type": "ledger.fail" if n % 10 < 3 else "ledger.noop"}} for n in range(500)]
        made = client.submit_many(requests)
        rows.wait_counts({"completed": 350, "failed": 150}, 30)
        failing = {job for job, request in zip(made, requests, strict=True) if "fail" in request["payload"]["type"]}
        dead = client.job(min(failing))
        assert (dead["failure_reason"], dead["attempts"], dead["error"]["cause"]) == (
            "attempts_exhausted", 3, "exception",
        )  # fmt: skip
        wait_until(lambda: working.metrics().total("taskhub_dead_letters") == 150, 15, "the gauge counts dead letters")
    assert ledger.executions() == Counter({job: 3 if job in failing else 1 for job in made})
    assert rows.value("SELECT count(*) FROM job_errors") == 450


@pytest.mark.long
def test_an_api_killed_between_commit_and_push_loses_nothing(
    api: MakeApi, worker: MakeWorker, ledger: Ledger, rows: Rows
) -> None:
    with worker():
        dying = api(TASKHUB_FAILPOINTS="api.after_commit=kill")
        dying.start()
        dying.wait_ready()
        with pytest.raises(OSError, match=r".*"), dying.http() as client:  # the connection breaks: no answer
            client.submit("ledger.noop")
        dying.end()
        assert rows.value("SELECT count(*) FROM jobs") == 1
        rows.wait_counts({"completed": 1}, 20)
    assert ledger.starts() == 1


@pytest.mark.slow
def test_jobs_of_an_api_whose_clock_is_ten_minutes_behind_run(
    api: MakeApi, worker: MakeWorker, ledger: Ledger, rows: Rows, redis: Redis
) -> None:
    with api(TASKHUB_FAILPOINTS="clock.wall=value:-600") as running, running.http() as client:
        made = [client.submit("ledger.noop") for _ in range(5)]
        redis.flushall()  # so that only PostgreSQL knows of them
        with worker():
            rows.wait_counts({"completed": 5}, 20)
    assert ledger.executions() == Counter(made)


# Trouble on the way


@pytest.mark.long
def test_kills_of_children_cost_at_most_one_execution_each_and_little_time(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker() as running:
        seconds_to_finish(store, broker, rows, 50)  # its children learn how long such jobs take
        undisturbed_s = seconds_to_finish(store, broker, rows, 200)
        began, kills = time.monotonic(), 0
        submit(store, broker, "ledger.sleep", 400, seconds=0.02)
        while rows.counts().get("completed", 0) < 650:
            assert time.monotonic() - began < stretched(60), rows.counts()
            kills += running.kill_child() is not None
            pause(1)
        took_s = rows.value(
            "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8"
            " FROM (SELECT * FROM jobs ORDER BY id DESC LIMIT 400) AS latest"
        )
    extra = ledger.starts() - 650
    assert rows.counts() == {"completed": 650}
    assert set(ledger.executions()) == {row["id"] for row in rows.sql("SELECT id FROM jobs")}
    assert kills >= 3
    assert 0 <= extra <= kills
    crashes = rows.value("SELECT sum(crashes) FROM jobs")
    assert rows.value("SELECT count(*) FROM job_errors") == crashes
    assert extra <= crashes <= kills  # one that dies before its handler's first line has begun, and noted nothing
    assert took_s <= stretched(1.5 * (undisturbed_s * 400 / 200) + 1)


def test_a_killed_childs_running_job_runs_again_within_two_seconds(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker():
        [job] = submit(store, broker, "ledger.kill_self", times=1)
        wait_until(lambda: len(ledger.of(job)) >= 2, 15, "the job runs again")
        rows.wait_counts({"completed": 1}, 10)
    first, second, *_ = ledger.of(job)
    assert (second.at_ns - first.at_ns) / 1e9 <= 2
    [error] = rows.errors(job)
    assert (error["cause"], error["attempt"]) == ("signal:SIGKILL", 1)
    assert rows.job(job)["crashes"] == 1


def test_a_job_that_kills_its_child_each_time_is_a_dead_letter_after_three(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker():
        [poison] = submit(store, broker, "ledger.kill_self")
        others = submit(store, broker, "ledger.noop", 50)
        rows.wait_counts({"completed": 50, "failed": 1}, 20)
    row = rows.job(poison)
    assert (row["failure_reason"], row["crashes"], row["attempts"]) == ("crash_limit", 3, 3)
    assert [error["cause"] for error in rows.errors(poison)] == ["signal:SIGKILL"] * 3
    assert ledger.executions() == Counter({poison: 3, **dict.fromkeys(others, 1)})


@pytest.mark.long
def test_losing_all_of_redis_repeatedly_loses_and_doubles_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, redis: Redis
) -> None:
    with worker():
        made = submit(store, broker, "ledger.sleep", 600, seconds=0.02)
        for share in (0.2, 0.4, 0.6):
            wait_until(lambda share=share: ledger.starts() >= share * 600, 30, "jobs run")
            redis.flushall()
            flushed, seen = time.monotonic(), ledger.starts()
            wait_until(lambda seen=seen: ledger.starts() > seen + 60, 10, "dispatch resumes")  # beyond what was taken
            assert time.monotonic() - flushed <= stretched(5 + 1)
        rows.wait_counts({"completed": 600}, 60)
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_ids_pushed_a_hundred_times_more_run_once_on_two_workers(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker("left"), worker("right"):
        [finished] = submit(store, broker, "ledger.noop")
        rows.wait_counts({"completed": 1}, 10)
        [running] = submit(store, broker, "ledger.sleep", seconds=2)
        wait_until(lambda: ledger.executions()[running], 10, "the job runs")
        blocking = submit(store, broker, "ledger.sleep", 8, seconds=0.5)
        [queued] = submit(store, broker, "ledger.noop")
        for _ in range(100):
            for job in (queued, running, finished):
                broker.push("default", 4, [job])
        broker.push_again("default", 9, [(1.0, job) for job in (queued, running, finished)])
        rows.wait_counts({"completed": 11}, 30)
        wait_until(lambda: broker.depths(["default"])["default"] == 0, 10, "Redis is empty")
    assert ledger.executions() == Counter([finished, running, queued, *blocking])


def test_stale_ids_do_not_hold_up_what_lies_behind_them(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker():
        [done] = submit(store, broker, "ledger.sleep", seconds=0.2)  # slow: so ids are taken one by one
        rows.wait_counts({"completed": 1}, 10)
        for _ in range(300):
            broker.push("default", 4, [done])
        began = time.monotonic()
        submit(store, broker, "ledger.noop")
        rows.wait_counts({"completed": 2}, 10)
        assert time.monotonic() - began < stretched(3)
    assert ledger.starts() == 2


def test_junk_in_redis_stops_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, redis: Redis
) -> None:
    with worker():
        for junk in (b"not an id", b"\xff\xfe", b"{}", b"'; DROP TABLE jobs; --", b"x" * 10_000):
            redis.lpush(key_names.ready("default", 4), junk)
            redis.zadd(key_names.again("default", 4), {junk: 0})
        made = submit(store, broker, "ledger.noop", 20)
        rows.wait_counts({"completed": 20}, 20)
    assert ledger.executions() == Counter(made)


# Stopping


@pytest.mark.slow
def test_a_worker_told_to_stop_finishes_what_runs_and_leaves_the_rest(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    with worker() as running:
        made = submit(store, broker, "ledger.sleep", 8, seconds=1)
        wait_until(lambda: ledger.starts() >= 2, 10, "jobs run")
        assert running.stop() == 0
    found = rows.counts()
    assert set(found) <= {"completed", "queued"}
    assert found["completed"] == ledger.starts() == len(ledger.entries("end"))
    assert rows.value("SELECT sum(interruptions) + sum(crashes) FROM jobs") == 0
    assert rows.value("SELECT count(*) FROM jobs WHERE status = 'queued' AND attempts > 0") == 0
    with worker("next"):
        rows.wait_counts({"completed": 8}, 40)
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_a_killed_supervisor_takes_its_children_along_and_its_restart_rescues(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker
) -> None:
    running = worker()
    with running:
        [job] = submit(store, broker, "ledger.sleep", seconds=3)
        wait_until(lambda: ledger.starts() == 1, 10, "the job runs")
        members = running.children()
        os.kill(running.pid, signal.SIGKILL)
        running.wait(5)
        wait_until(lambda: not [pid for pid in members if alive(pid)], 2, "all its processes are gone")
        began = time.monotonic()
        running.start()
        wait_until(lambda: ledger.starts() == 2, 15, "the job runs again")
        assert time.monotonic() - began <= stretched(8)
        rows.wait_counts({"completed": 1}, 15)
    assert rows.job(job)["crashes"] == 1
