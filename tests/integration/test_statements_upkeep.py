"""The statements of maintenance: due jobs, turns, expiry, pruning, depth, epochs; and of workers' lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskhub import ids
from taskhub.broker.broker import Broker
from taskhub.maintenance.pruner import Pruner
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.background import Background
from tests.harness.rows import DUE, Child, Rows, claim, open_child, run

NIL = "00000000-0000-0000-0000-000000000000"
START: dict[str, Any] = {"after_worker": NIL, "after_number": -1, "after_generation": -1}


@pytest.fixture
def child(store: Connection) -> Child:
    return open_child(store)


def due_rows(store: Connection, **arguments: Any) -> list[Any]:
    return [row for row in run(store, "due_jobs", **{**DUE, **arguments}) if row[2]]


def due(store: Connection, **arguments: Any) -> list[str]:
    return [row[2] for row in due_rows(store, **arguments) if not row[4]]


# due_jobs


def test_due_jobs_are_found_oldest_first_in_each_queue_and_priority(store: Connection, rows: Rows) -> None:
    late = rows.one(run_at="=clock_timestamp() - interval '1 s'")
    early = rows.one(run_at="=clock_timestamp() - interval '2 s'")
    urgent = rows.one(run_at="=clock_timestamp()", priority=9)
    other = rows.one(run_at="=clock_timestamp()", queue="other")
    rows.one(run_at="=clock_timestamp() + interval '1 h'")
    rows.one()
    found: dict[tuple[str, int], list[str]] = {}
    for queue, priority, job, at_s, _ in due_rows(store):
        found.setdefault((queue, priority), []).append(job)
        assert abs(at_s - rows.now().timestamp()) < 10
    assert found == {("default", 4): [early, late], ("default", 9): [urgent], ("other", 4): [other]}


def test_due_jobs_are_bounded_per_queue_and_priority(store: Connection, rows: Rows) -> None:
    rows.add(5, run_at="=clock_timestamp()")
    rows.add(5, run_at="=clock_timestamp()", queue="other")
    assert len(due(store, amount=2)) == 4


def test_a_pass_over_due_jobs_goes_on_behind_the_last_place(store: Connection, rows: Rows) -> None:
    made = {queue: rows.one(run_at="=clock_timestamp()", queue=queue) for queue in ("a", "b", "c")}
    assert due(store, places=2) == [made["a"], made["b"]]
    assert due(store, after_queue="b", after_priority=4) == [made["c"]]
    assert due(store, total=1) == [made["a"]]


def test_due_jobs_are_found_in_a_queue_that_nobody_knows(store: Connection, rows: Rows) -> None:
    job = rows.one(run_at="=clock_timestamp()")
    rows.sql("DELETE FROM marks")
    rows.sql("DELETE FROM queues")
    assert due(store) == [job]


def test_a_paused_queue_has_no_due_jobs(store: Connection, rows: Rows) -> None:
    rows.one(run_at="=clock_timestamp()")
    rows.sql("UPDATE queues SET paused = true")
    assert due(store) == []


@pytest.mark.parametrize("column", [{"status": "running"}, {"expires_at": "=clock_timestamp()"}])
def test_what_cannot_run_is_not_due(store: Connection, rows: Rows, column: dict[str, Any]) -> None:
    rows.one(run_at="=clock_timestamp()", **column)
    assert due(store) == []


def test_what_has_started_once_is_due_whatever_its_expiry(store: Connection, rows: Rows) -> None:
    job = rows.one(run_at="=clock_timestamp()", expires_at="=clock_timestamp()", attempts=1)
    assert due(store) == [job]


def test_of_some_ids_those_that_wait_are_told(store: Connection, rows: Rows) -> None:
    fresh, retry = rows.one(), rows.one(run_at="=clock_timestamp()", priority=9)
    unwanted = [rows.one(run_at="=clock_timestamp() + interval '1 h'"), rows.one(status="completed"), ids.new_ids(1)[0]]
    found = run(store, "filter_queued", ids=[fresh, retry, *unwanted])
    assert {row[:3] for row in found} == {(fresh, "default", 4), (retry, "default", 9)}


# expiring_jobs and expire_jobs


def expiring(store: Connection, since: str = "-infinity", skip: int = 0, amount: int = 10) -> tuple[Any, list[str]]:
    [(*told, late)] = run(store, "expiring_jobs", since=since, skip=skip, amount=amount)
    return told, late


def test_jobs_that_were_not_started_in_time_fail(store: Connection, rows: Rows, child: Child) -> None:
    late = rows.one(expires_at="=clock_timestamp()")
    delayed = rows.one(expires_at="=clock_timestamp()", run_at="=clock_timestamp() + interval '1 h'")
    early = rows.one(expires_at="=clock_timestamp() + interval '1 h'")
    started = rows.one(expires_at="=clock_timestamp()", run_at="=clock_timestamp()", attempts=1)
    running = rows.one(expires_at="=clock_timestamp() + interval '1 h'")
    claim(store, child, [running])
    rows.set(running, expires_at="=clock_timestamp()")
    _, found = expiring(store)
    assert found == [late, delayed]
    told = run(store, "expire_jobs", ids=[*found, early, started, running])
    assert sorted(told) == sorted([(late, "default", "echo"), (delayed, "default", "echo")])
    for row in rows.jobs([late, delayed]):
        assert (row["status"], row["failure_reason"], row["run_at"]) == ("failed", "expired", None)
        assert row["failed_at"] is not None
    assert rows.statuses([early, started, running]) == ["queued", "queued", "running"]


def test_expiry_is_read_on_from_where_it_was_also_among_equal_times(store: Connection, rows: Rows) -> None:
    made = rows.add(5, expires_at="=date_trunc('day', clock_timestamp())")
    (last, same, _), first = expiring(store, amount=3)
    (_, _, count), rest = expiring(store, since=last, skip=same, amount=3)
    assert (len(first), count) == (3, 2)
    assert {*first, *rest} == set(made)


def test_a_first_start_after_the_expiry_is_refused_and_a_later_one_is_not(
    store: Connection, rows: Rows, child: Child
) -> None:
    never, once = rows.add(2, expires_at="=clock_timestamp()")
    rows.set(once, attempts=1, run_at="=clock_timestamp()")
    _, claimed = claim(store, child, [never, once])
    assert [row[0] for row in claimed] == [once]


# Pruning


@pytest.mark.parametrize(
    ("status", "days", "is_pruned"),
    [
        ("completed", 8, True), ("completed", 6, False), ("failed", 8, False), ("failed", 31, True),
        ("cancelled", 31, True), ("queued", 99, False), ("running", 99, False),
    ],
)  # fmt: skip
def test_finished_jobs_are_forgotten_after_their_time(
    store: Connection, rows: Rows, status: str, days: int, is_pruned: bool
) -> None:
    job = old_job(rows, status, days)
    rows.sql(
        "INSERT INTO job_errors (job_id, failed_at, attempt, type, message, cause)"
        " VALUES (%s, clock_timestamp(), 1, 'E', 'm', 'exception')", job,
    )  # fmt: skip
    prune(store)
    left = (rows.value("SELECT count(*) FROM jobs"), rows.value("SELECT count(*) FROM job_errors"))
    assert left == ((0, 0) if is_pruned else (1, 1))


def test_a_retention_of_nothing_keeps_for_ever(
    store: Connection, broker: Broker, settings: Callable[..., Settings], rows: Rows
) -> None:
    old_job(rows, "completed", 999)
    old_job(rows, "failed", 999)
    Pruner(store, broker, settings(retention_s=0, dead_retention_s=0)).step()
    assert rows.value("SELECT count(*) FROM jobs") == 2
    Pruner(store, broker, settings(retention_s=0)).step()
    assert rows.value("SELECT status FROM jobs") == "completed"


def test_a_job_that_ended_lately_stays_however_old_it_is(store: Connection, rows: Rows) -> None:
    job = old_job(rows, "completed", 99)
    rows.set(job, finished_at="=clock_timestamp()")
    prune(store)
    assert rows.statuses([job]) == ["completed"]


def test_pruning_goes_on_where_it_ended(store: Connection, rows: Rows) -> None:
    made = sorted(old_job(rows, "completed" if days % 2 else "queued", days) for days in range(20, 25))
    assert prune(store, amount=3) == (made[2], 3, 1)
    assert prune(store, since=made[2], amount=3) == (made[4], 2, 1)
    assert prune(store, since=made[4], amount=3) == (None, 0, 0)


def test_only_keys_that_serve_nobody_are_forgotten(store: Connection, rows: Rows) -> None:
    waiting, done = rows.one(), rows.one(status="completed")
    for key, job, age in (("a", waiting, "-1 h"), ("b", done, "-1 h"), ("c", done, "1 h")):
        rows.sql(f"INSERT INTO idempotency_keys VALUES (%s, 'f', %s, clock_timestamp() + interval '{age}')", key, job)
    for key, job in (("u", waiting), ("v", done), ("w", ids.new_ids(1)[0])):
        rows.sql("INSERT INTO unique_keys VALUES (%s, %s)", key, job)
    for job in (waiting, done):
        rows.sql("INSERT INTO cancellations VALUES (%s, NULL, now())", job)
    assert run(store, "prune_unique_keys", after="", amount=10) == [("w", 3)]
    [(last, same, read)] = run(store, "prune_idempotency_keys", since="-infinity", skip=0, amount=10)
    assert (last is not None, same, read) == (True, 0, 2)
    [(_, read)] = run(store, "prune_cancellations", after=NIL, amount=10)
    assert read == 2
    assert [row["key"] for row in rows.sql("SELECT key FROM idempotency_keys ORDER BY key")] == ["a", "c"]
    assert rows.value("SELECT unique_key FROM unique_keys") == "u"
    assert rows.value("SELECT job_id FROM cancellations") == waiting


def old_job(rows: Rows, status: str, days: int) -> str:
    """A job whose id and times are `days` old."""
    ago = f"clock_timestamp() - interval '{days} days'"
    floor = str(rows.value(f"SELECT taskhub_id_floor({ago})"))
    job = floor[:24] + ids.new_ids(1)[0][24:]
    ended = {"failed_at": f"={ago}"} if status in ("failed", "cancelled") else {}
    rows.add(job_ids=[job], status=status, created_at=f"={ago}", updated_at=f"={ago}", finished_at=f"={ago}", **ended)
    return job


def prune(store: Connection, since: str = NIL, amount: int = 100) -> tuple[str | None, int, int]:
    """One batch of each kind; says what the walk over completed jobs did."""
    run(store, "prune_dead", retention_s=30 * 86400.0, amount=amount)
    [told] = run(store, "prune_completed", since=since, retention_s=7 * 86400.0, amount=amount)
    return told[0], told[1], told[2]


def test_a_key_that_changes_hands_while_the_pruner_waits_stays(connect: Callable[[], Connection], rows: Rows) -> None:
    """The pruner has read that the key's job is over, and waits for somebody's lock."""
    over = rows.one(status="completed")
    rows.sql("INSERT INTO unique_keys VALUES ('k', %s)", over)
    taker, pruner = connect(), connect()
    taker.execute("BEGIN")
    fresh = taker.execute("SELECT taskhub_enqueue('echo', '{}', unique_key => 'k')")[0][0]
    pruning = Background(run, pruner, "prune_unique_keys", after="", amount=10)
    pruning.is_blocked_in(rows)
    taker.execute("COMMIT")
    pruning.result()
    assert rows.value("SELECT job_id FROM unique_keys") == fresh


# Counts


def test_the_depth_counts_what_could_run_now(store: Connection, rows: Rows) -> None:
    rows.add(3)
    rows.add(2, run_at="=clock_timestamp()", priority=9)
    rows.add(4, run_at="=clock_timestamp() + interval '1 h'")
    rows.add(4, status="completed")
    rows.add(1, queue="other")
    rows.sql("SELECT taskhub_know_queue('empty', 4)")
    assert depths(store) == {"default": 5, "other": 1, "empty": 0}
    assert depths(store, bound=4)["default"] == 4


def test_the_depth_counts_what_lies_behind_the_walk(store: Connection, rows: Rows) -> None:
    behind = rows.add(3)
    rows.sql("UPDATE walk SET seen = taskhub_id_floor(clock_timestamp() + interval '1 h')")
    rows.sql("INSERT INTO lagging VALUES ('default', 4, %s)", behind[0])
    assert depths(store) == {"default": 3}
    assert run(store, "oldest_waiting", queue="default", stretch=10)[0][0] is not None


def depths(store: Connection, bound: int = 100) -> dict[str, int]:
    return dict(run(store, "queue_depth", bound=bound, places=10, stretch=10))


def test_dead_letters_are_counted_by_queue_and_type(store: Connection, rows: Rows) -> None:
    rows.add(2, status="failed", failed_at="=clock_timestamp()")
    rows.add(1, status="failed", failed_at="=clock_timestamp()", type="demo")
    rows.add(1, status="cancelled", failed_at="=clock_timestamp()")
    assert sorted(run(store, "count_dead_letters", bound=10)) == [("default", "demo", 1), ("default", "echo", 2)]


# Workers and slots


def test_a_heartbeat_tells_the_open_slots_of_all_workers(store: Connection, child: Child) -> None:
    open_child(store)
    closed = open_child(store)
    run(store, "close_slot", **closed._asdict())
    assert run(store, "heartbeat", worker=child.worker, stopping=False) == [(2,)]


def test_a_silent_worker_is_declared_dead_and_its_heartbeat_refused(store: Connection, rows: Rows) -> None:
    silent, fresh, other = open_child(store), open_child(store), open_child(store)
    rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp() - interval '16 s' WHERE id <> %s", fresh.worker)
    found = run(store, "expire_workers", seen_s=rows.now().timestamp(), dead_s=15.0, except_for=other.worker)
    assert [row[0] for row in found] == [silent.worker]
    assert run(store, "heartbeat", worker=silent.worker, stopping=False) == []
    assert len(run(store, "heartbeat", worker=other.worker, stopping=False)) == 1


def test_a_declaration_that_the_server_comes_to_late_does_not_count_the_time_until_then(
    store: Connection, rows: Rows
) -> None:
    """As after a server that stood still: this statement waits in it, and so do the heartbeats of all."""
    silent, waiting, me = open_child(store), open_child(store), open_child(store)
    rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp() - interval '20 s' WHERE id = %s", waiting.worker)
    rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp() - interval '40 s' WHERE id = %s", silent.worker)
    found = run(store, "expire_workers", seen_s=rows.now().timestamp() - 20, dead_s=15.0, except_for=me.worker)
    assert [row[0] for row in found] == [silent.worker]


def test_a_dead_worker_opens_no_slot(store: Connection, child: Child) -> None:
    assert run(store, "expire_worker", worker=child.worker) == [(child.worker,)]
    assert run(store, "open_slot", worker=child.worker, slot=1, generation=1, pid=3) == []
    assert run(store, "open_slot", worker=ids.new_token(), slot=0, generation=1, pid=3) == []


def test_a_closed_generation_is_not_opened_again_but_the_next_is(store: Connection, child: Child) -> None:
    run(store, "close_slot", **child._asdict())
    assert run(store, "open_slot", **child._asdict(), pid=3) == []
    assert run(store, "open_slot", **child._replace(generation=2)._asdict(), pid=3) == [(0,)]


def test_a_dead_worker_goes_only_when_all_its_slots_are_rescued(store: Connection, rows: Rows, child: Child) -> None:
    second = open_child(store, slot=1, worker=child.worker)
    alive = open_child(store)
    assert run(store, "delete_worker", worker=child.worker) == []
    run(store, "expire_worker", worker=child.worker)
    assert run(store, "slots_to_rescue", **START, amount=10) == [
        (child.worker, 0, 1, False),
        (child.worker, 1, 1, False),
    ]
    after = {"after_worker": child.worker, "after_number": 0, "after_generation": 1}
    assert run(store, "slots_to_rescue", **after, amount=10) == [(child.worker, 1, 1, False)], "from a place on"
    run(store, "delete_slot", **child._asdict())
    assert rows.slot(child) is not None, "an open slot was forgotten"
    for slot in (child, second):
        run(store, "close_slot", **slot._asdict())
        assert run(store, "delete_worker", worker=child.worker) == []
        run(store, "delete_slot", **slot._asdict())
    assert run(store, "slots_to_rescue", **START, amount=10) == [(child.worker, -1, -1, False)]
    assert run(store, "delete_worker", worker=child.worker) == [(child.worker,)]
    assert run(store, "slots_of_worker", worker=alive.worker) == [alive]


def test_a_heartbeat_from_before_the_clock_was_set_back_proves_nothing(store: Connection, rows: Rows) -> None:
    ahead, me = open_child(store), open_child(store)
    rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp() + interval '1 h' WHERE id = %s", ahead.worker)
    found = run(store, "expire_workers", seen_s=rows.now().timestamp(), dead_s=15.0, except_for=me.worker)
    assert [row[0] for row in found] == [ahead.worker]


def test_a_slot_is_not_opened_while_its_worker_is_declared_dead(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    declaring, opening = connect(), connect()
    declaring.execute("BEGIN")
    run(declaring, "expire_worker", worker=child.worker)
    opened = Background(run, opening, "open_slot", worker=child.worker, slot=1, generation=1, pid=3)
    opened.is_blocked_in(rows)
    declaring.execute("COMMIT")
    assert opened.result() == []


def test_registering_twice_is_harmless(store: Connection, rows: Rows) -> None:
    worker: dict[str, Any] = {"worker": ids.new_token(), "host": "h", "pid": 1, "version": "1", "queues": ["a", "b"]}
    run(store, "register_worker", **worker)
    run(store, "register_worker", **worker)
    assert rows.value("SELECT queues FROM workers") == ["a", "b"]


# Cancellation, and a handler's own transaction


def test_a_worker_sees_the_cancellations_of_what_it_runs(store: Connection, rows: Rows, child: Child) -> None:
    mine, finished = rows.add(2)
    lease, _ = claim(store, child, [mine, finished])
    theirs = rows.one()
    other = open_child(store)
    claim(store, other, [theirs])
    for job, worker in ((mine, child.worker), (finished, child.worker), (theirs, other.worker)):
        rows.set(job, cancel_requested_at="=clock_timestamp()")
        rows.sql("INSERT INTO cancellations VALUES (%s, %s, now())", job, worker)
    rows.set(finished, status="completed")
    assert run(store, "cancellations_of_worker", worker=child.worker) == [(mine, 0, lease)]
    assert {row[0] for row in run(store, "filter_cancelled", ids=[mine, rows.one()])} == {mine}


def test_a_commit_in_doubt_is_known_once_its_transaction_has_ended(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    store, handlers = connect(), connect()
    done, undone = rows.add(2)
    lease, _ = claim(store, child, [done, undone])
    for job, end, status in ((done, "COMMIT", "completed"), (undone, "ROLLBACK", "running")):
        handlers.execute("BEGIN")
        run(handlers, "complete_in_transaction", id=job, lease=lease)
        assert run(store, "ended_commit", id=job, lease=lease) == []
        handlers.execute(end)
        assert run(store, "ended_commit", id=job, lease=lease) == [(status,)]
    assert run(store, "ended_commit", id=done, lease=ids.new_token()) == []
