"""No statement reads more rows the longer the tables are: each is run on tables of 200,000 and its reads counted.

The layout is hostile to a plan that begins at the wrong end: rows that are kept on both sides of every bound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskhub import ids
from taskhub.store.connection import Connection
from tests.architecture.test_store import columns
from tests.harness.rows import Child, Rows, open_child, run
from tests.harness.servers import Postgres, new_database
from tests.unit.test_statements import NAMES

NIL = "00000000-0000-0000-0000-000000000000"
ASKED = 100  # rows that a statement is asked for
BOUND = 2 * ASKED + 100
QUEUES = 1_500

# An id of so many seconds ago, with an own end. Statuses in stretches of 100, so that no bound meets its rows at once.
FILL = """
INSERT INTO jobs (id, created_at, updated_at, run_at, started_at, finished_at, failed_at, expires_at, attempts,
    max_attempts, priority, status, queue, type, payload)
SELECT overlay(taskhub_id_floor(at)::text PLACING lpad(to_hex(n), 12, '0') FROM 25)::uuid, at, at,
    CASE WHEN kind = 1 THEN now() + interval '1 day' END, at, CASE WHEN kind <> 1 THEN at END,
    CASE WHEN kind = 2 THEN at END, CASE WHEN kind IN (3, 4) THEN at + interval '1 s' END, 1, 5, 4,
    CASE kind WHEN 1 THEN 'queued' WHEN 2 THEN 'failed' ELSE 'completed' END, 'default', 'echo', '{"type":"echo"}'
FROM (
    SELECT n, now() - n * interval '9 s' AS at, n / 100 %% 5 AS kind FROM generate_series(1, 200000) AS n
) AS made;
INSERT INTO queues (name, active_at) SELECT 'q' || n, now() - interval '30 min' FROM generate_series(1, %s) AS n;
INSERT INTO lagging SELECT 'q' || n, 4, (SELECT id FROM jobs ORDER BY id OFFSET n * 400 LIMIT 1)
FROM generate_series(1, 20) AS n;
INSERT INTO unique_keys SELECT 'k' || id, id FROM jobs WHERE status = 'queued' LIMIT 10000;
INSERT INTO idempotency_keys SELECT 'k' || id, 'f', id, created_at FROM jobs WHERE status = 'queued' LIMIT 10000;
INSERT INTO cancellations SELECT id, NULL, now() FROM jobs WHERE status = 'queued' LIMIT 5000;
INSERT INTO job_errors (job_id, failed_at, attempt, type, message, cause)
SELECT id, failed_at, 1, 'E', 'm', 'exception' FROM jobs WHERE failed_at IS NOT NULL LIMIT 10000;
UPDATE walk SET mark = taskhub_id_floor(now() - interval '1 d'), seen = taskhub_id_floor(now() - interval '1 d');
"""
READ = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
"""


@pytest.fixture(scope="module")
def long_tables(postgres: Postgres, _template: str) -> Iterator[str]:
    """The URL of a database that has been in use for three weeks."""
    with new_database(postgres, _template) as url:
        rows = Rows(url)
        rows.sql("SET taskhub.inserts = 'on'")
        rows.sql(FILL, QUEUES)
        rows.sql("VACUUM ANALYZE")
        rows.close()
        yield url


@pytest.fixture(scope="module")
def reader(long_tables: str) -> Iterator[Connection]:
    """A connection as all of taskhub's own."""
    made = Connection(long_tables, index_only=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def child(reader: Connection) -> Child:
    return open_child(reader)


def arguments(reader: Connection, child: Child) -> dict[str, dict[str, Any]]:
    """What each statement is asked, for about ASKED rows."""
    some = [row[0] for row in reader.execute("SELECT id FROM jobs ORDER BY id OFFSET 90000 LIMIT 50")]
    [(middle,)] = reader.execute("SELECT id FROM jobs ORDER BY id OFFSET 100000 LIMIT 1")
    lease, slot = {"lease": ids.new_token()}, child._asdict()
    one: dict[str, Any] = {"id": some[0]}
    settled = {
        "ids": some,
        "results": ["1"] * 50,
        "started_us_ago": [1_000_000] * 50,
        "finished_us_ago": [500_000] * 50,
        **lease,
    }
    made = ids.new_ids(50)
    new = {
        "ids": made, "queues": ["default"] * 50, "types": ["echo"] * 50, "priorities": [4] * 50,
        "payloads": ['{"type":"echo"}'] * 50, "max_attempts": [5] * 50, "tags": ["{}"] * 50,
        **dict.fromkeys(("timeouts", "run_in"), [None] * 50),
    }  # fmt: skip
    one_new = {
        "id": ids.new_ids(1)[0], "queue": "default", "type": "echo", "priority": 4, "payload": '{"type":"echo"}',
        "max_attempts": 5,
    }  # fmt: skip
    alike = {
        "ids": ids.new_ids(50), "payloads": ['{"type":"echo"}'] * 50, "queue": "default", "type": "echo",
        "priority": 4, "max_attempts": 5, "tags": "{}",
    }  # fmt: skip
    keyed = {
        **new, "unique_keys": [f"u{n}" for n in range(50)], "idempotency_keys": [f"i{n}" for n in range(50)],
        "fingerprints": ["f"] * 50, "kept_s": 60.0,
    }  # fmt: skip
    failed = {
        "ids": some, "started_us_ago": [1_000_000] * 50, "types": ["E"] * 50, "messages": ["m"] * 50,
        "causes": ["c"] * 50,
        "retry_in": [1.0] * 50, "reasons": [None] * 50, "peaks": [None] * 50, **lease,
    }  # fmt: skip
    place = {"queue": "default", "priority": 4}
    return {
        "begin_for_handler": {},
        "cancel_job": one,
        "cancellations_of_worker": {"worker": child.worker},
        "filter_cancelled": {"ids": some},
        "claim_from_store": {**slot, **place, "amount": 10, **lease, "claim_lease": ids.new_token()},
        "close_slot": slot,
        "complete_in_transaction": {**one, **lease},
        "count_dead_letters": {"bound": ASKED},
        "due_jobs": {"after_queue": "", "after_priority": -1, "places": 10, "amount": 50, "total": ASKED},
        "ended_commit": {**one, **lease},
        "expire_jobs": {"ids": some},
        "expire_worker": {"worker": child.worker},
        "expire_workers": {"seen_s": time.time(), "dead_s": 15.0, "except_for": child.worker},
        "expiring_jobs": {"since": "-infinity", "skip": 0, "amount": ASKED},
        "delete_queues": {"idle_s": 60.0, "amount": 30},
        "delete_slot": slot,
        "delete_worker": {"worker": child.worker},
        "free_unique_key": {"unique_key": "k" + some[0], "holder": ids.new_ids(1)[0]},
        "get_jobs": {"ids": some},
        "heartbeat": {"worker": child.worker, "stopping": False},
        "slot_job_ids": {"worker": child.worker, **lease},
        "insert_job": one_new,
        "insert_alike_jobs": alike,
        "insert_jobs": {**new, "unique_keys": [None] * 50},
        "insert_keyed_jobs": keyed,
        "job_errors": one,
        "job_states": {"ids": some},
        "job_status": one,
        "keyed_jobs": {"ids": made, "idempotency_keys": ["k" + job for job in some], "unique_keys": ["x"] * 50},
        "ensure_queue": place,
        "move_lagging": {"turn": 0, "queues": ["q1"], "priorities": [4], "marks": [None]},
        "note_walk": {
            "turn": 0, "seen": middle, "mark": middle, "lag_s": 15.0, "queues": ["q9"], "priorities": [4],
            "marks": [middle],
        },
        "oldest_waiting": {"queue": "q1", "stretch": 50},
        "open_slot": {**slot, "generation": 2, "pid": 1},
        "repoint_idempotency_key": {"idempotency_key": "k" + some[0], "job_id": some[0], "holder": some[1]},
        "defer_unknown": {"ids": some, **lease, "delay_s": 1.0},
        "prune_cancellations": {"after": NIL, "amount": ASKED},
        "prune_completed": {"since": NIL, "retention_s": 3600.0, "amount": ASKED},
        "prune_dead": {"retention_s": 3600.0, "amount": ASKED},
        "prune_idempotency_keys": {"since": "-infinity", "skip": 0, "amount": ASKED},
        "prune_unique_keys": {"after": "", "amount": ASKED},
        "queue_depth": {"bound": ASKED, "places": 10, "stretch": 10},
        "queue_names": {},
        "filter_queued": {"ids": some},
        "filter_locked": {"ids": some},
        "raise_epochs": {"queues": ["q1", "q2"], "epochs": [3, 4], "in_use": ["q1"]},
        "register_worker": {
            "worker": ids.new_token(), "host": "h", "pid": 1, "version": "1", "queues": ["a"],
        },
        "release_jobs": {"ids": some, **lease},
        "rescue_jobs": {**slot, "started": some, "all_started": False, "interrupted": False},
        "schema_versions": {},
        "served_queues": {"active_s": 30.0, "others": 32},
        "server_clock": {},
        "settle_and_claim": {
            **settled, **slot, "queue": "default", "claim": some, "claim_lease": ids.new_token(),
        },
        "settle_completed": settled,
        "settle_failures": failed,
        "slots_of_worker": {"worker": child.worker},
        "slots_to_rescue": {"after_worker": NIL, "after_number": -1, "after_generation": -1, "amount": 32},
        "revive_jobs": {"after_queue": "", "after_priority": -1, "after": "-infinity", "skip": 0, "amount": ASKED},
        "take_walk": {"every_s": 0.0, "lag_s": 15.0},
        "filter_unfinished": {"ids": some},
        "waiting_places": {"places": 30, "newest": 50},
        "begin_walk": {},
        "walk_age": {},
        "walk_jobs": {"since": middle, "slack_s": 5.0, "amount": ASKED},
        "walked_places": {"active_s": 15.0, "newest": 50, "amount": 50},
    }  # fmt: skip


# What reads more than the usual bound, and why that is a bound all the same.
MORE = {
    "claim_from_store": 21_000,  # the 20,000 rows after where the walk stands
    "served_queues": QUEUES + 200,
    "queue_names": QUEUES + 100,  # the queues in use; the idle are forgotten
    "queue_depth": QUEUES + 1_000,
    "insert_keyed_jobs": 600,  # five tables
    "keyed_jobs": 400,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_reads_a_bounded_number_of_rows(reader: Connection, child: Child, name: str) -> None:
    asked = arguments(reader, child)
    assert name in asked, f"say here what sql/{name}.sql is asked, and see that it reads as little as that"
    reader.execute("BEGIN")
    try:
        [(before,)] = reader.execute(READ)
        run(reader, name, **asked[name])
        [(after,)] = reader.execute(READ)
    finally:
        reader.execute("ROLLBACK")
    assert after - before <= MORE.get(name, BOUND)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_returns_the_columns_that_its_header_names(reader: Connection, child: Child, name: str) -> None:
    asked = arguments(reader, child)
    reader.execute("BEGIN")
    try:
        run(reader, name, **asked[name])
        found = [column.name for column in reader._cursor.description or ()]
    finally:
        reader.execute("ROLLBACK")
    assert found == columns(name)


def test_the_floor_of_a_moment_is_computed_in_place(reader: Connection) -> None:
    plan = reader.execute("EXPLAIN (VERBOSE) SELECT taskhub_id_floor(clock_timestamp() - interval '5 s')")
    assert "taskhub_id_floor" not in str(plan)
