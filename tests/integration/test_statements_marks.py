"""The reconciler's statements: a mark finds every fresh row, and never passes one that is still to come."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest

from taskhub import ids
from taskhub.store.connection import Connection
from tests.harness.rows import Rows, run

QUEUE: dict[str, Any] = {"queue": "default", "priority": 4}


class Walk(NamedTuple):
    """What walk_mark found."""

    last: str
    read: int
    horizon: Any
    waiting: list[str]


def walk(store: Connection, **arguments: Any) -> Walk:
    told: dict[str, Any] = {"slack_s": 5.0, "lost": False, "amount": 5000, **QUEUE, **arguments}
    header, *waiting = run(store, "walk_mark", **told)
    assert header[3] is True
    return Walk(header[0], header[1], header[2], [row[0] for row in waiting])


def move(store: Connection, walked: Walk, lag_s: float = 15.0) -> str:
    """Move the mark as the reconciler does: to the first waiting row, else to the last one read."""
    upto = walked.waiting[0] if walked.waiting else walked.last
    [(mark,)] = run(store, "move_mark", upto=upto, horizon=walked.horizon, lag_s=lag_s, **QUEUE)
    return str(mark)


def id_at(moment: datetime) -> str:
    """A new id of that moment."""
    millis = int(moment.timestamp() * 1000)
    tail = uuid.uuid4().int & ((1 << 62) - 1)
    return str(uuid.UUID(int=millis << 80 | 0x7 << 76 | (tail >> 50) << 64 | 0x2 << 62 | tail & ((1 << 62) - 1)))


def ids_ago(rows: Rows, *seconds: float) -> list[str]:
    now = rows.now()
    return [id_at(now - timedelta(seconds=ago)) for ago in seconds]


def begin_marks_long_ago(rows: Rows) -> None:
    rows.sql("SELECT taskhub_know_queue('default', 4)")
    rows.sql(
        "UPDATE marks SET mark = taskhub_id_floor(clock_timestamp() - interval '1 h'),"
        " horizon_id = taskhub_id_floor(clock_timestamp() - interval '1 h')"
    )


def let_horizon_age(rows: Rows) -> None:
    """As if the horizon had been taken later: above every id that exists."""
    rows.sql("UPDATE marks SET horizon_id = taskhub_id_floor(clock_timestamp() + interval '1 s')")


def mark_of(rows: Rows) -> str:
    return str(rows.value("SELECT mark FROM marks"))


# The ids' arithmetic


def test_the_moment_of_an_id_is_read_to_the_millisecond(rows: Rows) -> None:
    made = ids.new_id()
    told = rows.value("SELECT taskhub_id_moment(%s::uuid)", made)
    assert int(told.timestamp() * 1000) == int(made.replace("-", "")[:12], 16)


def test_the_floor_of_a_moment_is_below_every_id_of_it_and_above_all_earlier_ones(rows: Rows) -> None:
    moment = datetime.fromisoformat("2026-03-04T05:06:07.089+00:00")
    floor = rows.value("SELECT taskhub_id_floor(%s)", moment)
    before = id_at(moment - timedelta(milliseconds=1))
    assert before < floor <= id_at(moment)
    assert uuid.UUID(floor).version == 7


# walk_mark


def test_a_walk_finds_fresh_queued_rows_only(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    made = ids_ago(rows, 60, 50, 40, 30, 20, 10)
    rows.add(job_ids=[made[0]], status="completed")
    rows.add(job_ids=[made[1]])
    rows.add(job_ids=[made[2]], run_at="=clock_timestamp()")
    rows.add(job_ids=[made[3]], queue="other")
    rows.add(job_ids=[made[4]], priority=5)
    rows.add(job_ids=[made[5]])
    assert walk(store).waiting == [made[1], made[5]]


def test_a_walk_leaves_young_rows_to_redis(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    old, young = ids_ago(rows, 6, 3)
    rows.add(job_ids=[old, young])
    assert walk(store).waiting == [old]


def test_a_walk_leaves_rows_that_the_list_still_holds(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    before, tail, after = ids_ago(rows, 60, 50, 40)
    rows.add(job_ids=[before, tail, after])
    assert walk(store, tail=tail).waiting == [before]


def test_a_walk_after_a_loss_goes_up_to_now_whatever_the_tail(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    made = [*ids_ago(rows, 60), *rows.add(2)]
    rows.add(job_ids=made[:1])
    assert walk(store, lost=True, tail=made[0]).waiting == made


def test_a_long_walk_is_cut_in_pieces_that_join(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    made = sorted(ids_ago(rows, *range(10, 35)))
    rows.add(job_ids=made)
    found: list[str] = []
    since = None
    while (piece := walk(store, amount=10, since=since)).read == 10:
        found, since = found + piece.waiting, piece.last
    assert sorted({*found, *piece.waiting}) == made


# move_mark


def test_a_mark_moves_to_the_first_waiting_row_and_no_further(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    done, first, second = ids_ago(rows, 90, 60, 30)
    rows.add(job_ids=[done], status="completed")
    rows.add(job_ids=[first, second])
    move(store, walk(store))  # takes a new horizon, near to now
    assert move(store, walk(store)) == first
    assert walk(store).waiting == [first, second]


def test_a_mark_comes_never_nearer_to_now_than_the_lag(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    move(store, walk(store))
    mark = move(store, walk(store, lost=True))
    assert mark <= rows.value("SELECT taskhub_id_floor(clock_timestamp() - interval '15 s')")
    assert mark > rows.value("SELECT taskhub_id_floor(clock_timestamp() - interval '16 s')")


def test_a_mark_never_goes_back(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    move(store, walk(store))
    mark = move(store, walk(store))
    old = walk(store)._replace(last=ids_ago(rows, 3600)[0], waiting=[])
    assert move(store, old) == mark


def test_a_mark_never_passes_the_row_of_an_open_transaction(connect: Callable[[], Connection], rows: Rows) -> None:
    begin_marks_long_ago(rows)
    store, submitter = connect(), connect()
    submitter.execute("BEGIN")
    job = ids.new_id()
    insert(submitter, [job])
    for _ in range(3):
        move(store, walk(store, slack_s=-60.0), lag_s=-60.0)  # no slack, no lag
        let_horizon_age(rows)
    assert mark_of(rows) < job
    submitter.execute("COMMIT")
    assert rows.job(job)["run_at"] is None
    assert walk(store, slack_s=-60.0).waiting == [job]


def test_a_mark_passes_rows_once_the_transactions_of_their_time_are_over(store: Connection, rows: Rows) -> None:
    begin_marks_long_ago(rows)
    [job] = ids_ago(rows, 30)
    rows.add(job_ids=[job])
    rows.set(job, status="completed")
    move(store, walk(store))
    assert move(store, walk(store)) >= job


def test_a_late_walker_does_not_move_the_mark_by_the_horizon_of_another(
    connect: Callable[[], Connection], rows: Rows
) -> None:
    """Two reconcilers: the first walks and falls asleep; the second walks and moves meanwhile."""
    begin_marks_long_ago(rows)
    first, second, submitter = connect(), connect(), connect()
    submitter.execute("BEGIN")
    submitter.execute("SELECT pg_current_xact_id()")
    job = ids.new_id()
    insert(submitter, [job])
    asleep = walk(first, slack_s=-60.0)
    move(second, walk(second, slack_s=-60.0), lag_s=-60.0)
    let_horizon_age(rows)
    move(first, asleep, lag_s=-60.0)
    assert mark_of(rows) < job
    submitter.execute("COMMIT")
    assert walk(first, slack_s=-60.0).waiting == [job]


# insert_jobs


def insert(store: Connection, job_ids: list[str], **columns: Any) -> list[str]:
    """Insert jobs that are all alike."""
    told = {
        "queues": "default", "types": "echo", "priorities": 4, "payloads": '{"type":"echo"}', "max_attempts": 5,
        "timeouts": None, "run_in": None, "expires_in": None, "unique_keys": None, "tags": "{}",
    }  # fmt: skip
    arrays = {name: [value] * len(job_ids) for name, value in {**told, **columns}.items()}
    return [row[0] for row in run(store, "insert_jobs", ids=job_ids, **arrays)]


def test_a_new_job_is_queued_without_run_at(store: Connection, rows: Rows) -> None:
    job = ids.new_id()
    assert insert(store, [job], tags='{a,"b c"}', timeouts=1.5, expires_in=60.0, unique_keys="k") == [job]
    row = rows.job(job)
    assert (row["status"], row["run_at"], row["attempts"], row["max_attempts"]) == ("queued", None, 0, 5)
    assert (row["tags"], row["timeout_s"], row["unique_key"]) == (["a", "b c"], 1.5, "k")
    assert (row["expires_at"] - row["created_at"]).total_seconds() == pytest.approx(60)


@pytest.mark.parametrize(("ago", "is_found_by_run_at"), [(600, True), (6, True), (3, False), (-3600, True)])
def test_an_id_out_of_step_with_the_clock_gets_a_run_at(
    store: Connection, rows: Rows, ago: float, is_found_by_run_at: bool
) -> None:
    [job] = ids_ago(rows, ago)
    insert(store, [job])
    row = rows.job(job)
    assert (row["run_at"] is not None) == is_found_by_run_at
    if is_found_by_run_at:
        assert row["run_at"] == row["created_at"]


def test_a_delayed_job_gets_its_run_at(store: Connection, rows: Rows) -> None:
    job = ids.new_id()
    insert(store, [job], run_in=90.0)
    row = rows.job(job)
    assert (row["run_at"] - row["created_at"]).total_seconds() == pytest.approx(90)


def test_an_insert_sent_twice_leaves_the_first_as_it_is(store: Connection, rows: Rows) -> None:
    made = ids.new_ids(2)
    assert insert(store, made[:1]) == made[:1]
    before = rows.job(made[0])
    assert insert(store, made, priorities=9) == made[1:]
    assert rows.job(made[0]) == before


def test_a_new_queue_is_known_from_behind_every_id_to_come(store: Connection, rows: Rows) -> None:
    run(store, "know_queue", queue="new", priority=7)
    assert run(store, "known_priorities") == [("new", 7)]
    assert run(store, "queue_names") == [("new", False)]
    [job] = ids_ago(rows, 5)
    assert mark_of(rows) < job
