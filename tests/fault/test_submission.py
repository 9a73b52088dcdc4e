"""From the client's request to Redis: an accepted job is committed, and is found whatever happens after."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis as redis_client

from taskhub import failpoints, ids
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.errors import StoreUnavailableError
from taskhub.domain.new_job import NewJob
from taskhub.maintenance.reconciler import Reconciler
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.submitter import Submitter
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.background import Background
from tests.harness.forks import in_fork
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows, run
from tests.harness.servers import Redis
from tests.waiting import stretched, wait_until

MakeSubmitter = Callable[..., Submitter]
KEYED = b"EXECUTE insert_keyed_jobs"


@pytest.fixture
def submitter(pg_url: str, redis_url: str) -> Iterator[MakeSubmitter]:
    """Makes what an API process submits with; its PostgreSQL and Redis may be reached through a proxy."""
    made: list[Submitter] = []

    def make(pg: str = pg_url, redis: str = redis_url) -> Submitter:
        doorbell = Doorbell(Broker(redis, timeout_s=0.1))
        made.append(Submitter(lambda lock_s, statement_s: Connection(pg, lock_s=lock_s), doorbell))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def eager(settings: Callable[..., Settings], store: Connection, broker: Broker) -> Reconciler:
    """A reconciler that waits for nobody's push."""
    return Reconciler(store, broker, settings(internal_reconcile_s=0, internal_reconcile_slack_s=0).timers)


def submission(key: str | None = None) -> NewJob:
    return NewJob(
        ids.new_ids(1)[0],
        "default",
        "ledger.noop",
        4,
        '{"type":"ledger.noop"}',
        5,
        idempotency_key=key,
        fingerprint="same",
    )


def depth(broker: Broker) -> int:
    return broker.depths(["default"])["default"]


def let_time_pass(rows: Rows) -> None:
    """Until the next id is another millisecond's."""
    then = rows.now()
    wait_until(lambda: (rows.now() - then).total_seconds() > 0.02, 5, "time passes")


def test_a1_killed_between_the_commit_and_the_push(
    submitter: MakeSubmitter, broker: Broker, rows: Rows, eager: Reconciler
) -> None:
    def die() -> None:
        failpoints.arm("api.after_commit=kill")
        submitter().submit([submission()])

    assert in_fork(die) == -signal.SIGKILL
    assert rows.counts() == {"queued": 1}
    assert depth(broker) == 0, "nobody was told"
    let_time_pass(rows)
    eager.step()
    assert depth(broker) == 1


def test_a2_the_push_comes_after_the_commit(submitter: MakeSubmitter, pg_url: str, broker: Broker, rows: Rows) -> None:
    """The INSERT is held up by a lock: all that time Redis must not know of the job."""
    run(Connection(pg_url), "ensure_queue", queue="default", priority=4)
    locker = Rows(pg_url)
    locker.sql("BEGIN")
    locker.sql("LOCK TABLE jobs IN SHARE MODE")
    submitting = Background(submitter().submit, [submission()])
    submitting.is_blocked_in(rows)
    assert depth(broker) == 0
    locker.sql("COMMIT")
    submitting.result()
    wait_until(lambda: depth(broker) == 1, 5, "the job is pushed")
    locker.close()


def test_a2_whoever_went_with_anothers_flush_is_rung_for_too(submitter: MakeSubmitter, broker: Broker) -> None:
    submitting = submitter()

    def submit_some() -> None:
        for _ in range(20):
            submitting.submit([submission()])

    for thread in [Background(submit_some) for _ in range(8)]:
        thread.result(30)
    wait_until(lambda: depth(broker) == 160, 5, "all are pushed")


def test_a2_an_id_that_is_taken_before_its_row_is_visible_is_found_again(
    stage: PlayedWorker, broker: Broker, rows: Rows, ledger: Ledger, eager: Reconciler
) -> None:
    stage.child()
    rows.one(status="completed")  # the queue is known
    job = ids.new_ids(1)[0]
    broker.push("default", 4, [job])
    wait_until(lambda: depth(broker) == 0, 10, "a child has taken the id and found no row")
    rows.add(job_ids=[job], type="ledger.noop", payload='{"type":"ledger.noop"}')
    let_time_pass(rows)
    eager.step()
    wait_until(lambda: rows.job(job)["status"] == "completed", 10, "the job is done")
    assert ledger.starts() == 1


def test_a3_the_commit_answered_into_a_broken_connection(
    submitter: MakeSubmitter, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    """The API itself sends the same INSERT again, and the client never learns of it."""
    lost = pg_proxy.lose_answer(KEYED)
    [accepted] = submitter(pg=proxied_pg_url).submit([submission("k1")])
    assert lost.happened
    assert rows.counts() == {"queued": 1}
    assert accepted.id == rows.value("SELECT id FROM jobs")


def test_a3_the_clients_repetition_after_an_unknown_outcome_is_the_same_job(
    submitter: MakeSubmitter, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    lost = [pg_proxy.lose_answer(KEYED) for _ in range(50)]
    submitting = submitter(pg=proxied_pg_url)
    with pytest.raises(StoreUnavailableError):
        submitting.submit([submission("k1")])
    assert lost[0].happened
    assert rows.counts() == {"queued": 1}, "it was committed, and nobody knows"
    [again] = submitter().submit([submission("k1")])
    assert again.kind == "replayed"
    assert rows.counts() == {"queued": 1}
    assert again.id == rows.value("SELECT id FROM jobs")


def test_a8_redis_hangs_during_the_push(submitter: MakeSubmitter, rows: Rows, frail_redis: Redis) -> None:
    submitting = submitter(redis=frail_redis.url)
    submitting.submit([submission()])
    frail_redis.signal(signal.SIGSTOP)
    try:
        took_s = []
        for _ in range(5):
            began = time.monotonic()
            submitting.submit([submission()])
            took_s.append(time.monotonic() - began)
    finally:
        frail_redis.signal(signal.SIGCONT)
    assert rows.counts() == {"queued": 6}
    assert max(took_s) < stretched(1), "one push's time-out, no more"
    assert sum(took_s) < stretched(1.5), "and not for every submission"


def test_a9_a_push_that_timed_out_was_carried_out(
    submitter: MakeSubmitter,
    stage: PlayedWorker,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis: redis_client.Redis,
    redis_proxy: Proxy,
    proxied_redis_url: str,
) -> None:
    lost = redis_proxy.lose_answer(key_names.ready("default", 4).encode())
    [submitted] = submitter(redis=proxied_redis_url).submit([submission()])
    job = submitted.id
    wait_until(lambda: lost.happened, 5, "the answer is lost")
    broker.push("default", 4, [job])
    broker.push_again("default", 4, [(1.0, job)])
    assert redis.llen(key_names.ready("default", 4)) == 2
    stage.child(slot=0)
    stage.child(slot=1)
    wait_until(lambda: depth(broker) == 0, 10, "every id is taken")
    rows.wait_counts({"completed": 1}, 10)
    assert (ledger.starts(), rows.job(job)["attempts"]) == (1, 1)
