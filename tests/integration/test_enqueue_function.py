"""taskhub_enqueue: a job submitted from SQL, in the caller's own transaction."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from taskhub import ids
from taskhub.domain.errors import StatementError
from taskhub.store.connection import Connection
from tests.harness.background import Background
from tests.harness.rows import DUE, Rows, claim, open_child, run

CHECK_VIOLATION = "23514"


def enqueue(store: Connection, *arguments: object, **named: object) -> str:
    given = ["%s"] * len(arguments) + [f"{name} => %s" for name in named]
    [(job,)] = store.execute(f"SELECT taskhub_enqueue({', '.join(given)})", *arguments, *named.values())
    return str(job)


def test_it_makes_a_job_that_the_dispatcher_finds(store: Connection, rows: Rows) -> None:
    job = enqueue(store, "echo", '{"value": 1.50}')
    assert ids.is_id(job)
    row = rows.job(job)
    assert (row["queue"], row["priority"], row["status"], row["max_attempts"]) == ("default", 4, "queued", 5)
    assert rows.value("SELECT payload::text FROM jobs") == '{"type":"echo","value": 1.50}'
    assert [found[2] for found in run(store, "due_jobs", **DUE)] == [job]
    assert run(store, "queue_names") == [("default",)]


def test_its_ids_are_of_now_and_can_be_claimed(store: Connection) -> None:
    job = enqueue(store, "echo", "{}")
    assert abs(int(job[:8] + job[9:13], 16) - int(ids.new_ids(1)[0].replace("-", "")[:12], 16)) < 5_000
    assert job[14] == "7"
    assert [row[0] for row in claim(store, open_child(store), [job])[1]] == [job]


def test_queue_priority_and_time_are_the_callers(store: Connection, rows: Rows) -> None:
    at = rows.value("SELECT clock_timestamp() + interval '1 h'")
    row = rows.job(enqueue(store, "demo", "{}", "mail", 9, run_at=at))
    assert (row["type"], row["queue"], row["priority"], row["run_at"]) == ("demo", "mail", 9, at)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("{}", '{"type":"echo"}'),
        ("  {\n} ", '{"type":"echo"}'),
        ('{"type": "echo"}', '{"type": "echo"}'),
        ('\n{"a": 1e400, "b": 12345678901234567890.0}', '{"type":"echo","a": 1e400, "b": 12345678901234567890.0}'),
        ('{"a": {"type": "x"}}', '{"type":"echo","a": {"type": "x"}}'),
    ],
)
def test_the_payload_is_kept_as_it_was_written(store: Connection, rows: Rows, given: str, stored: str) -> None:
    enqueue(store, "echo", given)
    assert rows.value("SELECT payload::text FROM jobs") == stored
    if "1e400" not in stored:
        assert json.loads(stored)["type"] == "echo"


@pytest.mark.parametrize(
    "arguments",
    [
        ("UPPER", "{}"), ("", "{}"), ("a" * 65, "{}"), ("a b", "{}"), ("a\n", "{}"),
        ("echo", "{}", "no spaces"), ("echo", "{}", "default", 10), ("echo", "{}", "default", -1),
        ("echo", "[]"), ("echo", "1"), ("echo", '"x"'), ("echo", "null"),
        ("echo", '{"type": "demo"}'), ("echo", '{"type": null}'), ("5", '{"type": 5}'),
        ("echo", '{"a": "' + "x" * 2**20 + '"}'),
    ],
)  # fmt: skip
def test_what_the_api_would_refuse_is_refused(store: Connection, rows: Rows, arguments: tuple[object, ...]) -> None:
    with pytest.raises(StatementError) as refusal:
        enqueue(store, *arguments)
    assert refusal.value.sqlstate == CHECK_VIOLATION
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_a_rolled_back_job_was_never_there(store: Connection, rows: Rows) -> None:
    store.execute("BEGIN")
    enqueue(store, "echo", "{}")
    store.execute("ROLLBACK")
    assert rows.value("SELECT count(*) FROM jobs") == 0


# unique_key


def test_a_unique_key_is_held_until_its_job_has_ended(store: Connection, rows: Rows) -> None:
    first = enqueue(store, "echo", "{}", unique_key="k")
    assert enqueue(store, "echo", '{"n": 2}', unique_key="k") == first
    assert enqueue(store, "echo", "{}", unique_key="other") != first
    claim(store, open_child(store), [first])
    assert enqueue(store, "echo", "{}", unique_key="k") == first
    rows.set(first, status="completed")
    second = enqueue(store, "echo", "{}", unique_key="k")
    assert second != first
    assert enqueue(store, "echo", "{}", unique_key="k") == second
    assert rows.job(second)["unique_key"] == "k"


def test_a_unique_key_submitted_twice_at_once_makes_one_job(connect: Callable[[], Connection], rows: Rows) -> None:
    first, second = connect(), connect()
    run(first, "ensure_queue", queue="default", priority=4)  # so that they meet at the key and not before
    first.execute("BEGIN")
    winner = enqueue(first, "echo", "{}", unique_key="k")
    losing = Background(enqueue, second, "echo", "{}", unique_key="k")
    losing.is_blocked_in(rows)
    first.execute("COMMIT")
    assert losing.result() == winner
    assert rows.value("SELECT count(*) FROM jobs") == 1


def test_a_unique_key_whose_first_submitter_rolls_back_is_free(connect: Callable[[], Connection], rows: Rows) -> None:
    first, second = connect(), connect()
    first.execute("BEGIN")
    gone = enqueue(first, "echo", "{}", unique_key="k")
    waiting = Background(enqueue, second, "echo", "{}", unique_key="k")
    waiting.is_blocked_in(rows)
    first.execute("ROLLBACK")
    job = waiting.result()
    assert job != gone
    assert rows.job(job)["status"] == "queued"


def test_a_unique_key_of_an_ended_job_taken_over_by_two_at_once_makes_one_job(
    connect: Callable[[], Connection], rows: Rows
) -> None:
    first, second = connect(), connect()
    rows.set(enqueue(first, "echo", "{}", unique_key="k"), status="completed")
    first.execute("BEGIN")
    winner = enqueue(first, "echo", "{}", unique_key="k")
    losing = Background(enqueue, second, "echo", "{}", unique_key="k")
    losing.is_blocked_in(rows)
    first.execute("COMMIT")
    assert losing.result() == winner
    assert rows.value("SELECT count(*) FROM jobs WHERE status = 'queued'") == 1
