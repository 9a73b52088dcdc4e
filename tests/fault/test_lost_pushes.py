"""Many rows, or many queues, do not hide a lost push: what the walk finds in how many of its passes, each a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.maintenance.reconciler import Reconciler
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.rows import Rows

PASSES = 4  # of one second each, of 5 s promised

# Rows of the last minutes, in so many queues; the newest was to run.
FILL = """
INSERT INTO jobs (id, created_at, updated_at, max_attempts, status, queue, priority, type, payload)
SELECT overlay(taskhub_id_floor(at)::text PLACING lpad(to_hex(n), 12, '0') FROM 25)::uuid, at, at, 5,
    CASE WHEN n <= %(waiting)s THEN 'queued' ELSE 'completed' END, 'q' || n %% %(queues)s, 4, 'echo', '{"type":"echo"}'
FROM (
    SELECT n, clock_timestamp() - interval '30 s' - n * interval '1 ms' AS at
    FROM generate_series(%(count)s, 1, -1) AS n
) AS made
"""


@pytest.fixture
def reconciler(settings: Callable[..., Settings], store: Connection, broker: Broker) -> Reconciler:
    """One whose every step is a turn."""
    return Reconciler(store, broker, settings(internal_reconcile_s=0).timers)


def fill(rows: Rows, **numbers: int) -> None:
    """Rows that the walk has not come to yet."""
    rows.sql("UPDATE walk SET mark = taskhub_id_floor(now() - interval '1 h')")
    rows.sql("UPDATE walk SET seen = mark, horizon_id = mark, horizon_xid = pg_current_xact_id()")
    rows.sql(FILL % numbers)


@pytest.mark.slow
def test_a_lost_push_behind_150_000_rows_is_found_while_a_foreign_transaction_is_open(
    reconciler: Reconciler, connect: Callable[[], Connection], rows: Rows, redis: Redis
) -> None:
    foreign = connect()
    foreign.execute("BEGIN")
    foreign.execute("CREATE TABLE theirs ()")
    fill(rows, count=150_000, queues=40, waiting=1)
    mark = rows.value("SELECT mark FROM walk")
    for _ in range(PASSES):
        reconciler.step()
    assert redis.zcard(key_names.again("q1", 4)) == 1
    assert rows.value("SELECT mark FROM walk") == mark, "it is kept where it was, by the transaction"
    foreign.execute("ROLLBACK")


def test_a_thousand_queues_are_told_within_five_passes_of_a_flush(
    reconciler: Reconciler, rows: Rows, redis: Redis
) -> None:
    fill(rows, count=1_000, queues=1_000, waiting=1_000)
    for _ in range(2):
        reconciler.step()
    redis.flushall()
    for _ in range(PASSES):
        reconciler.step()
    assert [queue for queue in range(1_000) if redis.zcard(key_names.again(f"q{queue}", 4)) != 1] == []


def test_a_lost_push_is_found_after_somebody_has_emptied_the_walks_table(
    store: Connection,
    broker: Broker,
    settings: Callable[..., Settings],
    rows: Rows,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskhub.maintenance.walk._STUCK_S", 0.0)
    reconciler = Reconciler(store, broker, settings(internal_reconcile_s=0).timers)
    rows.sql("UPDATE walk SET seen = mark")
    rows.sql(FILL % {"count": 100, "queues": 1, "waiting": 1})
    rows.sql("DELETE FROM walk")
    for _ in range(PASSES):
        reconciler.step()
    assert redis.zcard(key_names.again("q0", 4)) == 1
