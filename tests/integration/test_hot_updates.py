"""The table's promise: a job's ordinary life is HOT updates, and the main path's plans are key look-ups."""

from __future__ import annotations

import pytest

from taskhub import ids
from taskhub.domain.job import MAX_BATCH_BYTES
from taskhub.store.connection import Connection
from taskhub.store.statements import statement
from tests.harness.rows import Rows, open_child, run
from tests.waiting import wait_until

JOBS = 2_000
BATCH = 100


@pytest.mark.parametrize("size", [2, 200])
def test_claiming_and_completing_is_nearly_always_hot(store: Connection, rows: Rows, size: int) -> None:
    """Small payloads and payloads of some hundred bytes alike."""
    made = rows.add(JOBS, payload='{"type":"echo","x":"' + "x" * size + '"}')
    child = open_child(store)
    lease, batch = None, []
    for start in range(0, JOBS + 1, BATCH):
        taken, token = made[start : start + BATCH], ids.new_token()
        head, *_ = run(
            store, "settle_and_claim", **child._asdict(), queue="default", claim=taken, claim_lease=token, lease=lease,
            ids=batch, results=['{"ok":true}'] * len(batch), started_us_ago=[1_000] * len(batch),
            finished_us_ago=[0] * len(batch), most_bytes=MAX_BATCH_BYTES,
        )  # fmt: skip
        assert head[0] == len(batch)
        lease, batch = token, taken
    assert rows.value("SELECT count(*) FROM jobs WHERE status = 'completed'") == JOBS
    store.close()  # a session reports its counts at the latest as it ends
    updates, hot = wait_until(lambda: counted(rows), 10, "the counts of updates arrive")
    assert hot / updates >= 0.95, f"{hot} of {updates} updates were HOT"


def counted(rows: Rows) -> tuple[int, int] | None:
    [row] = rows.sql("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'")
    return (row["n_tup_upd"], row["n_tup_hot_upd"]) if row["n_tup_upd"] >= 2 * JOBS else None


def test_no_index_of_jobs_mentions_what_the_happy_path_changes(rows: Rows) -> None:
    changed = {"status", "lease", "worker", "slot", "attempts", "started_at", "finished_at", "updated_at", "result"}
    for row in rows.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'jobs'"):
        assert not changed & set(row["indexdef"].replace("(", " ").replace(")", " ").replace(",", " ").split())


def test_a_hot_sessions_plans_stay_key_look_ups_however_the_table_grew(pg_url: str, rows: Rows) -> None:
    store = Connection(pg_url, index_only=True)
    child = open_child(store)
    arguments = ["{}", "{}", "{}", "{}", None, *child, "default", "{}", ids.new_token(), MAX_BATCH_BYTES]
    store.run("settle_and_claim", *arguments)  # prepared while the table was empty
    rows.add(20_000)
    rows.sql("ANALYZE jobs")
    plan = store.execute("EXPLAIN " + statement("settle_and_claim").execute, *arguments)
    store.close()
    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan on jobs" not in text
    assert "jobs_pkey" in text
    assert "Memoize" not in text  # a cache of rows each of which is read once
