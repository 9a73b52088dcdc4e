"""Redis forgets, remembers too much, fills up, or falls silent: it was only ever a doorbell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import redis as redis_client

from supervisor.shared import layout as m
from taskhub import ids
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.maintenance.dispatcher import Dispatcher
from taskhub.maintenance.reconciler import Reconciler
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.audit import history
from tests.harness.isolating import isolation
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows, run, submit
from tests.waiting import stretched, wait_until


@pytest.fixture
def reconciler(settings: Callable[..., Settings], store: Connection, broker: Broker) -> Reconciler:
    """One whose every step is a turn."""
    return Reconciler(store, broker, settings(internal_reconcile_s=0).timers)


@pytest.fixture
def full_redis(redis: redis_client.Redis) -> Iterator[Callable[[], None]]:
    """Makes Redis refuse whatever allocates."""

    def fill() -> None:
        redis.config_set("maxmemory", 1)

    yield fill
    redis.config_set("maxmemory", 0)


def eager_reconciler(
    settings: Callable[..., Settings], store: Connection, broker: Broker, **timers: float
) -> Reconciler:
    """One whose every step is a turn, and that leaves nothing to Redis."""
    timers = {"internal_reconcile_s": 0, "internal_reconcile_slack_s": 0, **timers}
    return Reconciler(store, broker, settings(**timers).timers)


def depth(broker: Broker) -> int:
    return broker.depths(["default"])["default"]


def snapshot(redis: redis_client.Redis) -> dict[bytes, bytes]:
    """Everything in Redis, as it would be on its disk."""
    return {key: redis.dump(key) for key in redis.keys("*")}


def rewind(redis: redis_client.Redis, to: dict[bytes, bytes]) -> None:
    """Everything since the snapshot never happened."""
    redis.flushall()
    for key, value in to.items():
        redis.restore(key, 0, value)


def test_r1_everything_is_flushed(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis: redis_client.Redis,
    reconciler: Reconciler,
) -> None:
    reconciler.step()
    made = submit(store, broker, "ledger.noop", 20)
    reconciler.step()
    redis.flushall()
    reconciler.step()
    assert depth(broker) == 20, "at the next turn, however young the jobs are"
    stage.child()
    rows.wait_counts({"completed": 20}, 10)
    assert ledger.executions() == Counter(made)


def test_a_long_list_of_what_is_no_job_any_more_delays_the_job_behind_it_for_a_moment(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows
) -> None:
    stale = list(ids.new_ids(20_000))
    for at in range(0, len(stale), 1_000):
        broker.push("default", 4, stale[at : at + 1_000])
    submit(store, broker, "ledger.noop")
    stage.child()
    rows.wait_counts({"completed": 1}, 5)


def test_r2_an_older_snapshot_comes_back(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis: redis_client.Redis,
    reconciler: Reconciler,
) -> None:
    old = submit(store, broker, "ledger.noop", 5)
    reconciler.step()
    before = snapshot(redis)
    first = stage.child()
    rows.wait_counts({"completed": 5}, 10)
    first.stop()
    reconciler.step()
    fresh = submit(store, broker, "ledger.noop", 5)
    reconciler.step()
    rewind(redis, before)
    assert depth(broker) == 5, "only those that are finished"
    reconciler.step()
    assert depth(broker) == 10
    first.go_on()
    rows.wait_counts({"completed": 10}, 10)
    assert ledger.executions() == Counter(old + fresh)
    assert [history(rows, job) for job in old] == [["running", "completed"]] * 5


def test_r5_no_memory_is_left(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    full_redis: Callable[[], None],
) -> None:
    """What is in Redis is taken from there; what cannot be pushed any more waits for no memory either."""
    made = submit(store, broker, "ledger.noop", 50)
    full_redis()
    stage.child(internal_block_s=0.2)
    rows.wait_counts({"completed": 50}, 10)
    assert ledger.executions() == Counter(made)


@pytest.mark.parametrize("answer", ["request", "answer"])
def test_r7_a_take_is_lost_on_the_way(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis_proxy: Proxy,
    proxied_redis_url: str,
    answer: str,
) -> None:
    """With its request or with its answer: then the ids have left the list, and nobody was told which."""
    target = key_names.inflight("default", stage.worker, 0, 1, 0).encode()
    lost = redis_proxy.lose_request(target) if answer == "request" else redis_proxy.lose_answer(target)
    made = submit(store, broker, "ledger.noop", 8)
    stage.child(redis_url=proxied_redis_url)
    lost.wait()
    rows.wait_counts({"completed": 8}, 10)
    assert ledger.executions() == Counter(made)
    assert rows.value("SELECT max(attempts) FROM jobs") == 1
    wait_until(lambda: depth(broker) == 0, 10, "no id is left")
    wait_until(lambda: not broker.inflight(target.decode()), 10, "nor in flight")


def test_r8_the_connection_is_half_open(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis_proxy: Proxy,
    proxied_redis_url: str,
) -> None:
    """Nothing comes from Redis any more, and no error either, while a child waits for the bell."""
    child = stage.child(redis_url=proxied_redis_url, internal_block_s=0.3, internal_redis_worker_s=0.5)
    [first] = submit(store, broker, "ledger.noop")
    rows.wait_counts({"completed": 1}, 10)
    child.wait_phase(m.PHASE_IDLE)
    redis_proxy.become_hole()
    began = time.monotonic()
    made = rows.add(5, type="ledger.noop", payload='{"type":"ledger.noop"}')
    rows.wait_counts({"completed": 6}, 10)
    assert time.monotonic() - began < stretched(5)
    redis_proxy.pass_again()
    [last] = submit(store, broker, "ledger.noop")
    rows.wait_counts({"completed": 7}, 10)
    wait_until(lambda: depth(broker) == 0, 10, "the child takes from Redis again")
    assert ledger.executions() == Counter([first, *made, last])


def test_r11_an_honest_backlog_is_not_pushed_again(
    settings: Callable[..., Settings], store: Connection, broker: Broker, rows: Rows, redis: redis_client.Redis
) -> None:
    """Nobody takes for long, and the jobs grow older than any threshold."""
    eager = Reconciler(store, broker, settings(internal_reconcile_s=0, internal_reconcile_slack_s=0).timers)
    submit(store, broker, "ledger.noop", 300)
    for _ in range(5):
        eager.step()
    assert redis.llen(key_names.ready("default", 4)) == 300
    assert redis.zcard(key_names.again("default", 4)) == 0


def test_r11_of_a_backlog_only_what_is_missing_is_pushed_again(
    settings: Callable[..., Settings], store: Connection, broker: Broker, rows: Rows, redis: redis_client.Redis
) -> None:
    eager = Reconciler(store, broker, settings(internal_reconcile_s=0, internal_reconcile_slack_s=0).timers)
    lost = rows.add(3)
    wait_until(lambda: rows.now().timestamp() * 1000 > int(lost[-1].replace("-", "")[:12], 16) + 5, 5, "time passes")
    submit(store, broker, "ledger.noop", 300)
    for _ in range(3):
        eager.step()
    assert sorted(redis.zrange(key_names.again("default", 4), 0, -1)) == sorted(job.encode() for job in lost)


def test_r14_the_retry_that_redis_knew_is_gone(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, redis: redis_client.Redis
) -> None:
    child = stage.child(retry_base_s=0.05, retry_cap_s=0.05, failpoints="worker.after_settle=stop*1")
    [job] = submit(store, broker, "ledger.fail", times=1)
    child.wait_stopped()
    assert history(rows, job) == ["running", "queued"], "it has failed once and waits for its retry"
    redis.flushall()
    child.go_on()
    dispatcher = Dispatcher(store, broker, isolation())
    wait_until(lambda: dispatcher.step() or rows.job(job)["status"] == "completed", 5, "its retry is done", every_s=0.1)
    assert ledger.starts() == 2


def test_p8_the_mark_never_passes_a_row_whose_transaction_is_open(
    settings: Callable[..., Settings], connect: Callable[[], Connection], broker: Broker, rows: Rows
) -> None:
    """A slow commit: newer rows are there, walked and done long before an older one appears."""
    store, slow = connect(), connect()
    eager = Reconciler(
        store,
        broker,
        settings(internal_reconcile_s=0, internal_reconcile_slack_s=0, internal_mark_lag_s=0).timers,
    )
    rows.one(status="completed")
    slow.execute("BEGIN")
    late = _insert(slow)
    for _ in range(3):
        rows.one(status="completed")
        _let_time_pass(rows)
        eager.step()
    assert rows.value("SELECT mark::text FROM walk") < late
    slow.execute("COMMIT")
    _let_time_pass(rows)
    eager.step()
    assert broker.again_sizes([("default", 4)])["default", 4] == 1, "it is found after its commit"
    assert run(store, "filter_queued", ids=[late])


def _insert(store: Connection) -> str:
    """INSERT one job as the API does, and never push it."""
    job = ids.new_ids(1)[0]
    run(
        store,
        "insert_jobs",
        ids=[job],
        queues=["default"],
        types=["ledger.noop"],
        priorities=[4],
        payloads=['{"type":"ledger.noop"}'],
        max_attempts=[5],
        timeouts=[None],
        run_in=[None],
        unique_keys=[None],
        tags=["{}"],
    )
    return job


def _let_time_pass(rows: Rows) -> None:
    """Until the next id is another millisecond's."""
    then = rows.now()
    wait_until(lambda: (rows.now() - then).total_seconds() > 0.02, 5, "time passes")
