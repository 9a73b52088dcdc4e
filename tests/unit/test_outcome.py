"""The gate: whatever a handler returns or raises is an outcome that can be stored, and its journal reads back equal."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskhub.domain import storable
from taskhub.domain.job import RESULT_UNSTORABLE
from taskhub.domain.journal import journal_entry, read_journal
from taskhub.domain.outcome import MESSAGE_BYTES, TRACEBACK_BYTES, Completed, Failed, Fate, Outcome
from taskhub.handlers.raises import Fail
from tests.harness import odd_values
from tests.harness.forks import in_fork

JOB = str(uuid.uuid4())
FATE = Fate("exception", 1.5)
many = settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)


def entry(outcome: Outcome) -> bytes:
    return journal_entry(outcome, uuid.UUID(outcome.id).bytes)


def check(outcome: Outcome) -> None:
    """It is storable, and comes back from the journal as it is."""
    assert list(read_journal(entry(outcome))) == [outcome]
    assert type(outcome) in (Completed, Failed)
    if isinstance(outcome, Completed):
        assert outcome.result is None or len(outcome.result.encode()) <= storable.MAX_JSON_BYTES
        assert outcome.result is None or json.dumps(json.loads(outcome.result), allow_nan=False)
    elif isinstance(outcome, Failed):
        assert outcome.message
        for text, limit in ((outcome.type, 200), (outcome.message, MESSAGE_BYTES)):
            assert type(text) is str
            assert "\x00" not in text
            assert len(text.encode()) <= limit
        assert len((outcome.traceback or "").encode()) <= TRACEBACK_BYTES
        assert "\x00" not in (outcome.traceback or "") + (outcome.raised_in or "")
        assert len(entry(outcome)) < 64 * 1024


@many
@given(odd_values.values)
def test_any_object_returned_is_an_outcome(value: Any) -> None:
    outcome = Completed.of(JOB, value, 1.0, 2.0)
    check(outcome)
    if isinstance(outcome, Failed):
        assert (outcome.reason, outcome.retry_in_s) == (RESULT_UNSTORABLE, None)


@many
@given(odd_values.exceptions)
def test_any_exception_raised_is_an_outcome(error: BaseException) -> None:
    try:
        raise error
    except BaseException as caught:
        check(Failed.of(JOB, caught, FATE, 1.0, 2.0))


@many
@given(odd_values.numbers | odd_values.texts | st.none())
def test_a_number_of_any_kind_is_finite_and_within_bounds_or_refused(value: Any) -> None:
    try:
        found = storable.seconds(value, 0, 100)
    except ValueError:
        return
    assert type(found) is float
    assert 0 <= found <= 100


@pytest.mark.parametrize(
    "holding",
    [
        float, lambda nan: [nan], lambda nan: {"a": [{"b": nan}]}, odd_values.Point,
        lambda nan: odd_values.Odd.NAN, lambda nan: {nan: 1},
        lambda nan: (1, nan), lambda nan: type("F", (float,), {})(nan),
        lambda nan: [None, "null", odd_values.Point([nan])],
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_nan_is_ever_stored_as_null(holding: Callable[[float], Any], number: float) -> None:
    outcome = Completed.of(JOB, holding(number), 1.0, 2.0)
    assert isinstance(outcome, Failed)
    assert outcome.reason == RESULT_UNSTORABLE


def test_what_json_can_say_is_kept_as_it_is() -> None:
    value = {"a": [1, -0.5, None, True, "null", "ü\x00"], "b": odd_values.Point({"c": odd_values.Level.LOW})}
    outcome = Completed.of(JOB, value, 1.0, 2.0)
    assert isinstance(outcome, Completed)
    assert json.loads(outcome.result or "") == {"a": value["a"], "b": {"x": {"c": 1}}}


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: datetime(2020, 1, 1, tzinfo=odd_values.Zone(SystemExit())), id="a zone that raises"),
        pytest.param(lambda: datetime(2020, 1, 1, tzinfo=odd_values.Zone("x")), id="a zone without an offset"),
        pytest.param(lambda: uuid.UUID.__new__(uuid.UUID), id="a UUID that was never made"),
    ],
)
def test_a_value_that_is_not_what_its_class_promises_ends_its_job_and_not_the_process(made: Callable[[], Any]) -> None:
    def refuse() -> None:
        outcome = Completed.of(JOB, [made()], 1.0, 2.0)
        assert isinstance(outcome, Failed)
        assert outcome.reason == RESULT_UNSTORABLE

    assert in_fork(refuse) == 0


def test_times_and_ids_are_kept_as_texts() -> None:
    zone = timezone(timedelta(hours=-3, minutes=-30))
    moment = datetime(2020, 1, 2, 3, 4, 5, 6000, zone)
    made = [moment, moment.replace(tzinfo=None), moment.date(), moment.time(), uuid.UUID(int=5)]
    outcome = Completed.of(JOB, made, 1.0, 2.0)
    assert isinstance(outcome, Completed)
    assert json.loads(outcome.result or "") == [
        "2020-01-02T03:04:05.006000-03:30",
        "2020-01-02T03:04:05.006000",
        "2020-01-02",
        "03:04:05.006000",
        "00000000-0000-0000-0000-000000000005",
    ]


def test_a_result_that_another_thread_changes_is_stored_without_nan() -> None:
    changing: dict[str, Any] = {}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            changing["a"] = math.nan
            changing.pop("b", None)
            changing["a"] = changing["b"] = 1

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        outcomes = [Completed.of(JOB, changing, 1.0, 2.0) for _ in range(2_000)]
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert {o.result for o in outcomes if isinstance(o, Completed)} <= {
        "{}",
        '{"a":1}',
        '{"a":1,"b":1}',
        '{"b":1,"a":1}',
    }


def test_the_gate_holds_where_little_stack_is_left() -> None:
    outcomes: list[Outcome] = []

    def fall() -> None:
        try:
            fall()
        except RecursionError as error:
            outcomes.append(Failed.of(JOB, error, FATE, 1.0, 2.0))
            outcomes.append(Completed.of(JOB, [[[{"a": [odd_values.Point([])]}]]], 1.0, 2.0))

    fall()
    for outcome in outcomes:
        check(outcome)


def test_a_large_text_is_cut_before_it_is_copied() -> None:
    error = ValueError("ü" * 5_000_000)
    tracemalloc.start()
    try:
        assert storable.text(error, 7) == "üüü"
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def failure_of(run: Callable[[], object], fate: Fate = FATE) -> Failed:
    """What is kept of what it raises."""
    try:
        run()
    except BaseException as error:
        return Failed.of(JOB, error, fate, 1.0, 2.0)
    raise AssertionError("it raised nothing")


def test_a_failure_says_what_was_raised_and_nothing_else() -> None:
    def raise_it() -> None:
        raise ValueError("no such customer\x00 \udcff")

    outcome = failure_of(raise_it, FATE._replace(note=" (noted)"))
    assert (outcome.type, outcome.message) == ("ValueError", "no such customer\\x00 \\udcff (noted)")
    assert "Traceback (most recent call last):" in (outcome.traceback or "")
    check(outcome)


def test_a_failure_says_where_the_handlers_own_code_was() -> None:
    def read_it() -> object:
        return json.loads("{")  # raised deep in the standard library

    assert re.fullmatch(rf"{__file__}:[0-9]+ read_it", failure_of(read_it).raised_in or "")


def test_of_an_installed_handler_its_own_package_is_its_own_code(tmp_path: Path) -> None:
    run = {}
    for package, code in (("other", "def ask(): raise KeyError"), ("shop", "def run(): do()\ndef do(): ask()")):
        file = f"{tmp_path}/site-packages/{package}/tasks.py"
        exec(compile(code, file, "exec"), run)
    assert failure_of(run["run"]).raised_in == f"{tmp_path}/site-packages/shop/tasks.py:2 do"


def test_a_traceback_keeps_each_of_its_causes_however_long_they_are() -> None:
    def chained() -> None:
        try:
            raise KeyError("first" + "x" * 9_000)
        except KeyError as cause:
            try:
                raise ValueError("second" + "y" * 9_000) from cause
            except ValueError as other:
                raise RuntimeError("third") from other

    trace = failure_of(chained).traceback or ""
    assert len(trace.encode()) <= TRACEBACK_BYTES
    assert trace.count("direct cause") == 2
    for told in ("KeyError", "first", "ValueError", "second", "RuntimeError: third", "in chained"):
        assert told in trace


def test_what_a_handler_raised_on_purpose_has_no_traceback_unless_another_error_led_there() -> None:
    meant = FATE._replace(is_meant=True)

    def give_up() -> None:
        raise Fail("no such image")

    def give_up_after_an_error() -> None:
        try:
            raise KeyError("image")
        except KeyError:
            give_up()

    outcome = failure_of(give_up, meant)
    assert (outcome.traceback, outcome.raised_in) == (None, f"{__file__}:{give_up.__code__.co_firstlineno + 1} give_up")
    assert "KeyError: 'image'" in (failure_of(give_up_after_an_error, meant).traceback or "")
