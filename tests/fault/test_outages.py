"""A server that is away: nothing is lost, nothing is run twice that is alive, and work resumes by itself."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows, submit
from tests.harness.servers import Postgres, Redis
from tests.waiting import stretched, wait_until


@pytest.fixture
def pg_url(frail_postgres: Postgres) -> str:
    """All fixtures of these tests use the server that may be harmed."""
    return frail_postgres.url("postgres")


@pytest.fixture
def redis_url(frail_redis: Redis) -> str:
    """Likewise."""
    return frail_redis.url


@pytest.fixture
def rows(pg_url: str) -> Iterator[Rows]:
    made = Rows(pg_url)
    yield made
    made.close()


@pytest.mark.slow
def test_jobs_go_on_without_redis_and_with_it_again(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_redis: Redis
) -> None:
    with worker() as running:
        made = submit(store, broker, "ledger.sleep", 300, seconds=0.02)
        wait_until(lambda: ledger.starts() > 50, 15, "jobs run")
        frail_redis.kill()
        made += rows.add(50, type="ledger.noop", payload='{"type":"ledger.noop"}')  # never pushed
        due = rows.add(20, type="ledger.noop", payload='{"type":"ledger.noop"}', run_at="=clock_timestamp()")
        rows.wait_counts({"completed": 370}, 30)
        frail_redis.start()
        made += due + submit(store, broker, "ledger.noop", 50)
        rows.wait_counts({"completed": 420}, 15)
        wait_until(lambda: len(running.events("redis.back")) >= 2, 15, "both children say that Redis is back")
        assert len(running.events("redis.lost")) <= 6, "one line for each change of state"
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_a_redis_that_freezes_stops_nobody_for_long(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_redis: Redis
) -> None:
    with worker(TASKHUB_INTERNAL_REDIS_WORKER_S="2.5"):
        made = submit(store, broker, "ledger.sleep", 100, seconds=0.02)
        wait_until(lambda: ledger.starts() > 10, 15, "jobs run")
        frail_redis.signal(signal.SIGSTOP)
        rows.wait_counts({"completed": 100}, 20)
        frail_redis.signal(signal.SIGCONT)
        made += submit(store, broker, "ledger.noop", 20)
        rows.wait_counts({"completed": 120}, 15)
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_a_full_redis_stops_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_redis: Redis
) -> None:
    with worker():
        made = submit(store, broker, "ledger.sleep", 100, seconds=0.02)
        wait_until(lambda: ledger.starts() > 10, 15, "jobs run")
        with frail_redis.client() as client:
            client.config_set("maxmemory", 1)
        made += rows.add(50, type="ledger.noop", payload='{"type":"ledger.noop"}')
        rows.wait_counts({"completed": 150}, 30)
        with frail_redis.client() as client:
            client.config_set("maxmemory", 0)
        made += submit(store, broker, "ledger.noop", 20)
        rows.wait_counts({"completed": 170}, 15)
    assert ledger.executions() == Counter(made)


@pytest.mark.long
def test_a_crash_of_postgresql_kills_no_process_and_repeats_nothing(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_postgres: Postgres
) -> None:
    with worker() as running:
        made = submit(store, broker, "ledger.sleep", 300, seconds=0.02)
        wait_until(lambda: ledger.starts() > 50, 15, "jobs run")
        members = running.children()
        frail_postgres.kill()
        gone = time.monotonic()
        wait_until(lambda: time.monotonic() - gone > 3, 5, "a while has passed", every_s=0.1)
        frail_postgres.start()
        back = time.monotonic()
        again = Rows(frail_postgres.url("postgres"))
        wait_until(lambda: again.counts().get("completed", 0) > 100, 20, "jobs run again")
        assert time.monotonic() - back < stretched(15)
        again.wait_counts({"completed": 300}, 30)
        again.close()
        assert running.children() == members, "a process ended"
    assert ledger.executions() == Counter(made)


@pytest.mark.slow
def test_a_job_that_ends_while_postgresql_is_away_is_settled_when_it_is_back(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_postgres: Postgres
) -> None:
    with worker():
        [job] = submit(store, broker, "ledger.sleep", seconds=1)
        wait_until(lambda: ledger.starts() == 1, 15, "the job runs")
        frail_postgres.kill()
        wait_until(lambda: ledger.entries("end"), 10, "the job ends")
        frail_postgres.start()
        again = Rows(frail_postgres.url("postgres"))
        again.wait_counts({"completed": 1}, 15)
        row = again.job(job)
        again.close()
    assert (row["attempts"], row["crashes"], ledger.starts()) == (1, 0, 1)


@pytest.mark.slow
def test_a_frozen_postgresql_is_waited_for(
    worker: MakeWorker, ledger: Ledger, rows: Rows, store: Connection, broker: Broker, frail_postgres: Postgres
) -> None:
    """Its sessions stop as well, as on a host that is suspended."""
    quick = {"TASKHUB_INTERNAL_PG_STATEMENT_S": "1", "TASKHUB_INTERNAL_PG_LOCK_S": "1"}
    with worker(**quick) as running:
        made = submit(store, broker, "ledger.sleep", 150, seconds=0.02)
        wait_until(lambda: ledger.starts() > 20, 15, "jobs run")
        frail_postgres.freeze()
        wait_until(lambda: running.events("postgres.lost"), 15, "the loss is told")
        frail_postgres.thaw()
        rows.wait_counts({"completed": 150}, 30)
    assert ledger.executions() == Counter(made)
