"""What was declared is submitted by its own name and arguments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from taskhub import Producer
from taskhub.domain.errors import InvalidPayloadError, InvalidRequestError
from taskhub.handlers.job import Job
from taskhub.handlers.registry import registry
from taskhub.job_types import _own_producer, submit_through
from tests.harness import typed_handlers as typed
from tests.harness.rows import Rows


@pytest.fixture(autouse=True)
def _producer(pg_url: str, redis_url: str) -> Iterator[None]:
    with Producer(pg_url, redis_url) as producer:
        submit_through(producer)
        yield
        submit_through(None)


def test_each_kind_is_submitted_by_the_arguments_that_it_takes(rows: Rows) -> None:
    made = rows.jobs(typed.right())
    assert [row["type"].removeprefix("typed.") for row in made] == [
        "signature", "signature", "dataclass", "pydantic", "marshmallow", "any",
    ]  # fmt: skip
    assert [{**row["payload"], "type": ""} for row in made[:2]] == [
        {"type": "", "image": "a", "width": 3},
        {"type": "", "image": "a"},
    ]
    assert made[2]["run_at"] is not None
    assert made[3]["run_at"] == datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert (made[5]["queue"], made[5]["payload"]["whatever"]) == ("slow", [1])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: typed.by_signature.submit(), TypeError),
        (lambda: typed.by_dataclass.submit(image="a", size=1), TypeError),
        (lambda: typed.by_nothing.submit(1), TypeError),
        (lambda: typed.by_signature.submit(image=5), InvalidPayloadError),
        (lambda: typed.by_marshmallow.submit(image=5), InvalidPayloadError),
        (lambda: typed.by_nothing.submit_at(datetime(2030, 1, 1)), InvalidRequestError),
        (lambda: typed.by_nothing.submit_in(-1), InvalidRequestError),
    ],
)
def test_what_is_wrong_with_a_submission_is_said_at_once(call: Any, error: type[Exception], rows: Rows) -> None:
    with pytest.raises(error):
        call()
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_without_a_word_it_is_a_producer_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, pg_url: str, redis_url: str, rows: Rows
) -> None:
    monkeypatch.setenv("TASKHUB_DATABASE_URL", pg_url)
    monkeypatch.setenv("TASKHUB_REDIS_URL", redis_url)
    submit_through(None)
    try:
        assert rows.job(typed.by_nothing.submit(n=1))["payload"] == {"type": "typed.any", "n": 1}
    finally:
        _own_producer().close()  # type: ignore[attr-defined]
        _own_producer.cache_clear()


def test_a_handler_gets_its_own_arguments_and_is_called_as_it_was_written() -> None:
    known = registry.get("typed.signature")
    assert known is not None
    job = Job(
        id="1",
        type="t",
        queue="q",
        payload={"image": "a"},
        attempt=2,
        max_attempts=3,
        lease="",
        execution=None,  # type: ignore[arg-type]
    )
    assert known.run(job) == "a 80 2" == typed.by_signature(job, "a")


def test_mypy_knows_the_arguments_of_a_submission() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", typed.__file__]
    told = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert told.returncode == 0, told.stdout
