"""Submitting from Python, straight into PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from taskhub import Producer
from taskhub.broker.broker import Broker
from taskhub.domain.errors import InvalidInputError, JobNotFoundError, StoreUnavailableError
from taskhub.settings.fields import SettingsError
from tests.harness.background import Background
from tests.harness.forks import in_fork
from tests.harness.rows import Rows
from tests.waiting import wait_for_value


@pytest.fixture
def producer(pg_url: str, redis_url: str) -> Iterator[Producer]:
    with Producer(pg_url, redis_url) as made:
        yield made


def test_a_job_of_an_unknown_type_is_committed_and_rung(producer: Producer, rows: Rows, broker: Broker) -> None:
    job = producer.submit("somebody.elses", {"n": 1}, queue="q", priority=9, tags=("a", "b"))
    row = rows.job(job)
    assert (row["type"], row["payload"], row["queue"], row["tags"]) == (
        "somebody.elses", {"type": "somebody.elses", "n": 1}, "q", ["a", "b"],
    )  # fmt: skip
    assert broker.tails([("q", 9)])["q", 9] == job


def test_many_are_committed_in_order(producer: Producer, rows: Rows, broker: Broker) -> None:
    made = producer.submit_many((("t", {"n": n}) for n in range(2_500)), priority=2, delay_s=None)
    assert [row["payload"]["n"] for row in rows.jobs(made)] == list(range(2_500))
    assert broker.depths(["default"]) == {"default": 2_500}
    assert producer.submit_many([]) == []


def test_a_held_unique_key_is_its_holder(producer: Producer) -> None:
    first = producer.submit("t", {}, unique_key="k")
    assert producer.submit("t", {}, unique_key="k") == first
    assert producer.submit_many([("t", {}), ("t", {})], unique_key="k") == [first, first]


@pytest.mark.parametrize(
    "payload",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": 2**63},
        {"x": object()},
        {"x": b"bytes"},
        {"x": "\ud800"},
        {1: "a", "1": "b"},
        {"type": 5},
        {"type": "No Name"},
        {"x": [[]] * 10**5 + [2**70]},
    ],
    ids=lambda payload: repr(payload)[:20],
)
def test_what_is_no_json_is_refused(producer: Producer, rows: Rows, payload: dict[Any, Any]) -> None:
    for call in (lambda: producer.submit("t", payload), lambda: producer.submit_many([("t", {}), ("t", payload)])):
        with pytest.raises(InvalidInputError):
            call()
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_what_json_can_carry_is_kept(producer: Producer, rows: Rows) -> None:
    payload = {"x": [1.0, None, 2**63 - 1, "\N{SNOWMAN}", {"y": [[]]}], "deep": [[[[[[[[[[[]]]]]]]]]]] * 9}
    assert rows.job(producer.submit("t", payload))["payload"] == {"type": "t", **payload}
    moment = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert rows.job(producer.submit("t", {"at": moment}))["payload"]["at"] == "2030-01-01T00:00:00+00:00"
    assert rows.job(producer.submit("t", run_at=moment))["run_at"] == moment


def test_circles_and_depths_are_refused(producer: Producer) -> None:
    circle: dict[str, Any] = {}
    circle["x"] = circle
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    for payload in (circle, {"x": deep}):
        with pytest.raises(InvalidInputError):
            producer.submit("t", payload)


@pytest.mark.parametrize("options", [{"queue": "!"}, {"priority": 10}, {"nope": 1}, {"run_at": "soon"}])
def test_bad_options_are_refused(producer: Producer, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        producer.submit("t", {}, **options)


def test_a_known_types_schema_holds(producer: Producer) -> None:
    import taskhub.handlers.builtin  # noqa: F401 (declares the type)

    with pytest.raises(InvalidInputError, match="sleep"):
        producer.submit("sleep", {"seconds": "long"})


def test_waiting(producer: Producer, rows: Rows) -> None:
    job = producer.submit("t", {})
    assert producer.wait(job, 0.05)["status"] == "queued"
    rows.set(job, status="completed", result='{"a":1}', finished_at="=clock_timestamp()")
    shown = producer.wait(job, 5)
    assert (shown["status"], shown["result"], shown["payload"]) == ("completed", {"a": 1}, {"type": "t"})
    with pytest.raises(JobNotFoundError):
        producer.wait("nobody", 1)


def test_servers_are_named_or_set(monkeypatch: pytest.MonkeyPatch, pg_url: str, redis_url: str) -> None:
    with pytest.raises(SettingsError, match="TASKHUB_DATABASE_URL"):
        Producer()
    monkeypatch.setenv("TASKHUB_DATABASE_URL", pg_url)
    with Producer(redis_url=redis_url) as producer:
        assert producer.submit("t", {})
    with Producer("postgresql://nobody@127.0.0.1:1/none", redis_url) as producer, pytest.raises(StoreUnavailableError):
        producer.submit("t", {})


def test_a_producer_that_was_used_before_a_fork_works_in_both_processes(producer: Producer, rows: Rows) -> None:
    """Also while another thread is in the middle of a submission, with locks held."""
    producer.submit("t", {})
    is_over = threading.Event()

    def keep_submitting() -> None:
        while not is_over.is_set():
            producer.submit("t", {})

    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(keep_submitting) for _ in range(2)]
        forked = [in_fork(lambda: [producer.submit("forked", {}) for _ in range(5)]) for _ in range(4)]
        is_over.set()
        for each in busy:
            each.result(10)
    assert forked == [0, 0, 0, 0]
    assert rows.value("SELECT count(*) FROM jobs WHERE type = 'forked'") == 20
    assert producer.submit("t", {})


def test_closing_while_others_submit_ends_nobodys_submission(producer: Producer, rows: Rows) -> None:
    made: list[str] = []

    def submit_some() -> None:
        made.extend(producer.submit("t", {}) for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        submitting = [threads.submit(submit_some) for _ in range(4)]
        for _ in range(20):
            producer.close()
        for each in submitting:
            each.result(20)
    assert rows.value("SELECT count(*) FROM jobs") == len(set(made)) == 200
    producer.close()
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskhub producer' AND datname = %s"
    database = rows.value("SELECT current_database()")
    wait_for_value(lambda: rows.value(ours, database), 0, 5, "the number of connections")


def test_an_interrupted_submission_leaves_a_producer_that_works(producer: Producer, pg_url: str, rows: Rows) -> None:
    """As by Ctrl-C, while the row waits for somebody's transaction."""

    class InterruptError(Exception):
        pass

    producer.submit("t", {}, unique_key="warm")
    holder = Rows(pg_url)
    holder.sql("BEGIN")
    holder.sql("INSERT INTO unique_keys VALUES ('held', '00000000-0000-7000-8000-000000000001')")
    waiting = Background(producer.submit, "t", {}, unique_key="held")
    waiting.is_blocked_in(rows)
    waiting.interrupt(InterruptError)
    assert producer.submit("t", {}, unique_key="other")
    with pytest.raises((InterruptError, StoreUnavailableError)):
        waiting.result(5)
    holder.sql("ROLLBACK")
    for _ in range(3):
        assert producer.submit("t", {}, unique_key="held")
    holder.close()
