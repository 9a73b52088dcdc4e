"""The walk's statements: every fresh row is found, and the mark never passes one that is still to come."""

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


class Found(NamedTuple):
    """What walk_jobs found."""

    last: str
    read: int
    horizon: Any
    waiting: list[str]


def walk(store: Connection, **arguments: Any) -> Found:
    """A reading of the one place, from the mark on."""
    since = arguments.pop("since", None) or mark_of(store)
    told: dict[str, Any] = {"slack_s": 5.0, "amount": 5000, "since": since, **arguments}
    header, *waiting = run(store, "walk_jobs", **told)
    return Found(*header[:3], [row[4] for row in waiting if row[5:7] == ("default", 4)])


def turn(store: Connection) -> int:
    """Take the next turn."""
    return int(run(store, "take_walk", every_s=0.0, lag_s=15.0)[0][0])


def move(store: Connection, walked: Found, lag_s: float = 15.0, number: int | None = None) -> str:
    """Write down a reading; returns the mark. What waits lags."""
    told = {"queues": ["default"], "priorities": [4], "marks": walked.waiting[:1]} if walked.waiting else {}
    told["turn"] = turn(store) if number is None else number
    run(store, "note_walk", seen=walked.last, mark=walked.last, horizon=walked.horizon, lag_s=lag_s, **told)
    return mark_of(store)


def id_at(moment: datetime) -> str:
    """A new id of that moment."""
    millis = int(moment.timestamp() * 1000)
    tail = uuid.uuid4().int & ((1 << 62) - 1)
    return str(uuid.UUID(int=millis << 80 | 0x7 << 76 | (tail >> 50) << 64 | 0x2 << 62 | tail & ((1 << 62) - 1)))


def ids_ago(rows: Rows, *seconds: float) -> list[str]:
    now = rows.now()
    return [id_at(now - timedelta(seconds=ago)) for ago in seconds]


def begin_long_ago(rows: Rows) -> None:
    floor = "taskhub_id_floor(clock_timestamp() - interval '1 h')"
    rows.sql(f"UPDATE walk SET mark = {floor}, seen = {floor}, horizon_id = {floor}")


def let_horizon_age(rows: Rows) -> None:
    """As if the horizon had been taken later: above every id that exists."""
    rows.sql("UPDATE walk SET horizon_id = taskhub_id_floor(clock_timestamp() + interval '1 s')")


def mark_of(store: Connection) -> str:
    [(mark,)] = store.execute("SELECT mark FROM walk")
    return str(mark)


# The ids' arithmetic


def test_the_moment_of_an_id_is_read_to_the_millisecond(rows: Rows) -> None:
    made = ids.new_ids(1)[0]
    told = rows.value("SELECT taskhub_id_moment(%s::uuid)", made)
    assert int(told.timestamp() * 1000) == int(made.replace("-", "")[:12], 16)


def test_the_floor_of_a_moment_is_below_every_id_of_it_and_above_all_earlier_ones(rows: Rows) -> None:
    moment = datetime.fromisoformat("2026-03-04T05:06:07.089+00:00")
    floor = rows.value("SELECT taskhub_id_floor(%s)", moment)
    before = id_at(moment - timedelta(milliseconds=1))
    assert before < floor <= id_at(moment)
    assert uuid.UUID(floor).version == 7


# walk_jobs


def test_a_reading_finds_fresh_queued_rows_of_all_places(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    made = ids_ago(rows, 60, 50, 40, 30, 20, 10)
    rows.add(job_ids=[made[0]], status="completed")
    rows.add(job_ids=[made[1]])
    rows.add(job_ids=[made[2]], run_at="=clock_timestamp()")
    rows.add(job_ids=[made[3]], queue="other")
    rows.add(job_ids=[made[4]], priority=5, expires_at="=clock_timestamp()")
    header, *waiting = run(store, "walk_jobs", since=mark_of(store), slack_s=5.0, amount=100)
    assert [row[4:] for row in waiting] == [
        (made[1], "default", 4, False), (made[3], "other", 4, False), (made[4], "default", 5, True),
    ]  # fmt: skip
    assert (header[1], sorted(header[3])) == (5, ["default", "other"])


def test_a_reading_leaves_young_rows_to_redis(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    old, young = ids_ago(rows, 6, 3)
    rows.add(job_ids=[old, young])
    assert walk(store).waiting == [old]
    assert walk(store, slack_s=-2.0).waiting == [old, young]


def test_readings_join(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    made = sorted(ids_ago(rows, *range(10, 35)))
    rows.add(job_ids=made)
    found: list[str] = []
    since = None
    while (piece := walk(store, amount=10, since=since)).read == 10:
        found, since = found + piece.waiting, piece.last
    assert sorted({*found, *piece.waiting}) == made


# take_walk and note_walk


def test_a_turn_is_taken_once_in_its_time(store: Connection) -> None:
    assert len(run(store, "take_walk", every_s=60.0, lag_s=15.0)) == 1
    assert run(store, "take_walk", every_s=60.0, lag_s=15.0) == []
    assert len(run(store, "take_walk", every_s=0.0, lag_s=15.0)) == 1


def test_two_workers_never_take_the_same_turn(connect: Callable[[], Connection]) -> None:
    first, second = connect(), connect()
    first.execute("BEGIN")
    assert len(run(first, "take_walk", every_s=0.0, lag_s=15.0)) == 1
    assert run(second, "take_walk", every_s=0.0, lag_s=15.0) == []
    first.execute("COMMIT")


def test_a_turn_in_the_future_freezes_nothing(store: Connection, rows: Rows) -> None:
    rows.sql("UPDATE walk SET walked_at = clock_timestamp() + interval '1 h'")
    assert len(run(store, "take_walk", every_s=1.0, lag_s=15.0)) == 1


def test_who_lost_the_turn_writes_nothing(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    [job] = ids_ago(rows, 60)
    rows.add(job_ids=[job])
    late, before = turn(store), mark_of(store)
    turn(store)
    assert move(store, walk(store), number=late) == before
    assert rows.sql("SELECT * FROM lagging") == []
    run(store, "move_lagging", turn=late, queues=["default"], priorities=[4], marks=[None])


def test_a_mark_passes_a_waiting_row_whose_place_lags(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    done, first, second = ids_ago(rows, 90, 60, 30)
    rows.add(job_ids=[done], status="completed")
    rows.add(job_ids=[first, second])
    move(store, walk(store))  # takes a new horizon, near to now
    assert move(store, walk(store)) > second
    assert rows.value("SELECT mark FROM lagging") == first


def test_a_place_leaves_when_nothing_waits_behind(store: Connection, rows: Rows) -> None:
    job = rows.one()
    rows.sql("INSERT INTO lagging VALUES ('default', 4, %s), ('other', 4, %s)", job, job)
    told = {"queues": ["default", "other"], "priorities": [4, 4], "marks": [ids.new_ids(1)[0], None]}
    run(store, "move_lagging", turn=turn(store), **told)
    assert [row["queue"] for row in rows.sql("SELECT queue FROM lagging WHERE mark > %s", job)] == ["default"]
    assert rows.value("SELECT count(*) FROM lagging") == 1


def test_a_mark_comes_never_nearer_to_now_than_the_lag(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    move(store, walk(store))
    mark = move(store, walk(store, slack_s=-2.0))
    assert mark <= rows.value("SELECT taskhub_id_floor(clock_timestamp() - interval '15 s')")
    assert mark > rows.value("SELECT taskhub_id_floor(clock_timestamp() - interval '16 s')")


def test_a_mark_never_goes_back(store: Connection, rows: Rows) -> None:
    begin_long_ago(rows)
    move(store, walk(store))
    mark = move(store, walk(store))
    old = walk(store)._replace(last=ids_ago(rows, 3600)[0], waiting=[])
    assert move(store, old) == mark


def test_a_clock_that_was_set_back_takes_the_mark_with_it(store: Connection, rows: Rows) -> None:
    ahead = "taskhub_id_floor(clock_timestamp() + interval '1 h')"
    rows.sql(f"UPDATE walk SET mark = {ahead}, seen = {ahead}, horizon_id = {ahead}")
    [(_, mark, seen, late_from, _)] = run(store, "take_walk", every_s=0.0, lag_s=15.0)
    assert mark <= late_from <= seen <= rows.value("SELECT taskhub_id_floor(clock_timestamp())")
    move(store, walk(store))
    assert mark_of(store) >= mark
    assert rows.value("SELECT horizon_id <= taskhub_id_floor(clock_timestamp() - interval '5 s') FROM walk")


def test_a_horizon_of_another_server_is_taken_again(store: Connection, rows: Rows) -> None:
    rows.sql("UPDATE walk SET horizon_xid = '9000000000000'")
    turn(store)
    assert rows.value("SELECT horizon_xid < pg_snapshot_xmax(pg_current_snapshot()) FROM walk")


def test_a_mark_never_passes_the_row_of_an_open_transaction(connect: Callable[[], Connection], rows: Rows) -> None:
    begin_long_ago(rows)
    store, submitter = connect(), connect()
    submitter.execute("BEGIN")
    job = ids.new_ids(1)[0]
    insert(submitter, [job])
    number = turn(store)
    for _ in range(3):
        move(store, walk(store, slack_s=-60.0), lag_s=-60.0, number=number)  # no slack, no lag
        let_horizon_age(rows)
    assert mark_of(store) < job
    submitter.execute("COMMIT")
    assert rows.job(job)["run_at"] is None
    assert walk(store, slack_s=-60.0).waiting == [job]


def test_a_late_walker_does_not_move_the_mark_by_the_horizon_of_another(
    connect: Callable[[], Connection], rows: Rows
) -> None:
    """Two readings: the first is done and falls asleep; the second is done and written down meanwhile."""
    begin_long_ago(rows)
    first, second, submitter = connect(), connect(), connect()
    submitter.execute("BEGIN")
    submitter.execute("SELECT pg_current_xact_id()")
    job = ids.new_ids(1)[0]
    insert(submitter, [job])
    number = turn(first)
    asleep = walk(first, slack_s=-60.0)
    move(second, walk(second, slack_s=-60.0), lag_s=-60.0, number=number)
    let_horizon_age(rows)
    move(first, asleep, lag_s=-60.0, number=number)
    assert mark_of(first) < job
    submitter.execute("COMMIT")
    assert walk(first, slack_s=-60.0).waiting == [job]


def test_a_queue_stays_in_use_by_its_rows_and_not_by_its_epoch(store: Connection, rows: Rows) -> None:
    rows.sql("INSERT INTO queues (name, active_at) SELECT q, now() - interval '10 s' FROM unnest('{a,b}'::text[]) AS q")
    run(store, "raise_epochs", queues=["a", "b", "c"], epochs=[5, 3, 1], in_use=["b"])
    run(store, "raise_epochs", queues=["a"], epochs=[4], in_use=[])
    told = rows.sql("SELECT name, epoch, active_at > now() - interval '5 s' AS used FROM queues ORDER BY name")
    assert [tuple(row.values()) for row in told] == [("a", 5, False), ("b", 3, True), ("c", 1, True)]


# Rows from other hands


@pytest.mark.parametrize("ago", [3600, 0, -3600])
def test_a_fresh_row_that_anybody_inserts_is_found_by_run_at(rows: Rows, ago: float) -> None:
    rows.sql("RESET taskhub.inserts")
    [job] = rows.add(job_ids=ids_ago(rows, ago))
    assert rows.job(job)["run_at"] is not None
    assert rows.job(rows.one(status="completed"))["run_at"] is None


# insert_jobs


def insert(store: Connection, job_ids: list[str], **columns: Any) -> list[str]:
    """Insert jobs that are all alike."""
    told = {
        "queues": "default", "types": "echo", "priorities": 4, "payloads": '{"type":"echo"}', "max_attempts": 5,
        "timeouts": None, "run_in": None, "unique_keys": None, "tags": "{}",
    }  # fmt: skip
    arrays = {name: [value] * len(job_ids) for name, value in {**told, **columns}.items()}
    return [row[0] for row in run(store, "insert_jobs", ids=job_ids, **arrays)]


def insert_one(store: Connection, job_ids: list[str]) -> list[str]:
    """The same by the statement for one job alone."""
    told = {"queue": "default", "type": "echo", "priority": 4, "payload": '{"type":"echo"}', "max_attempts": 5}
    return [row[0] for job_id in job_ids for row in run(store, "insert_job", id=job_id, **told)]


def insert_alike(store: Connection, job_ids: list[str]) -> int:
    """The same by the statement for many that are alike; it tells how many there were."""
    told: dict[str, Any] = {"queue": "default", "type": "echo", "priority": 4, "max_attempts": 5, "tags": []}
    payloads = ['{"type":"echo"}'] * len(job_ids)
    return int(run(store, "insert_alike_jobs", ids=job_ids, payloads=payloads, **told)[0][0])


INSERTS = pytest.mark.parametrize("any_insert", [insert, insert_one, insert_alike])


def test_a_new_job_is_queued_without_run_at(store: Connection, rows: Rows) -> None:
    job = ids.new_ids(1)[0]
    until = "2030-01-01T00:00:00+00:00"
    assert insert(store, [job], tags='{a,"b c"}', timeouts=1.5, expires_at=until, unique_keys="k") == [job]
    row = rows.job(job)
    assert (row["status"], row["run_at"], row["attempts"], row["max_attempts"]) == ("queued", None, 0, 5)
    assert (row["tags"], row["timeout_s"], row["unique_key"]) == (["a", "b c"], 1.5, "k")
    assert row["expires_at"].isoformat() == until


@INSERTS
@pytest.mark.parametrize(("ago", "is_found_by_run_at"), [(600, True), (6, True), (3, False), (-3600, True)])
def test_an_id_out_of_step_with_the_clock_gets_a_run_at(
    store: Connection, rows: Rows, any_insert: Callable[..., Any], ago: float, is_found_by_run_at: bool
) -> None:
    [job] = ids_ago(rows, ago)
    any_insert(store, [job])
    row = rows.job(job)
    assert (row["run_at"] is not None) == is_found_by_run_at
    if is_found_by_run_at:
        assert row["run_at"] == row["created_at"]


@INSERTS
def test_an_id_below_the_mark_gets_a_run_at(store: Connection, rows: Rows, any_insert: Callable[..., Any]) -> None:
    """As after a clock that was set back by less than anybody notices."""
    rows.sql("UPDATE walk SET mark = taskhub_id_floor(clock_timestamp() + interval '500 ms')")
    [job] = ids_ago(rows, 0)
    any_insert(store, [job])
    assert rows.job(job)["run_at"] is not None


@INSERTS
def test_a_second_insert_of_the_same_id_adds_nothing(
    store: Connection, rows: Rows, any_insert: Callable[..., Any]
) -> None:
    made = ids.new_ids(1)
    assert any_insert(store, made) in (made, 1)
    before = rows.job(made[0])
    assert not any_insert(store, made)
    assert rows.job(made[0]) == before


def test_a_delayed_job_gets_its_run_at(store: Connection, rows: Rows) -> None:
    job = ids.new_ids(1)[0]
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
    run(store, "ensure_queue", queue="new", priority=7)
    assert run(store, "waiting_places", places=10, newest=10) == []
    assert run(store, "queue_names") == [("new",)]
    [job] = ids_ago(rows, 5)
    assert rows.value("SELECT mark FROM marks") < job
