"""What becomes of everything that a handler can do."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import taskhub.handlers.builtin  # noqa: F401 (declares its types)
from supervisor.shared import layout as m
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from taskhub import ids
from taskhub.child.batch import raw_id
from taskhub.child.clean_ground import CleanGround
from taskhub.child.failure_policy import FailurePolicy
from taskhub.child.run_job import JobRunner
from taskhub.domain.job import INTERRUPTED, NON_RETRYABLE, RESULT_UNSTORABLE, ClaimedJob
from taskhub.domain.outcome import Completed, Failed, Outcome
from taskhub.domain.storable import MAX_JSON_BYTES
from taskhub.handlers.raises import Fail, Retry
from taskhub.handlers.registry import Handler, registry
from taskhub.store.connection import Connection
from taskhub.store.transaction import HandlerSession
from tests.harness.odd_values import Hidden
from tests.waiting import pause

NOWHERE = "postgresql://127.0.0.1:1/nowhere"
POLICY = FailurePolicy(retry_base_s=2, retry_cap_s=600, timeout_s=900)
Run = Callable[[Any], Any]


class Bench:
    """An runner with a real record."""

    def __init__(self, folder: Path) -> None:
        self.memory = Memory.create(folder, ids.new_token(), 1)
        self.bank = self.memory.bank(0, 1)
        self.bank.begin(1)
        self.link = ChildLink(self.memory, 0, 1)
        session, doubts = HandlerSession(NOWHERE), Connection(NOWHERE)
        self.runner = JobRunner(self.link, POLICY, CleanGround(), session, doubts)

    def run(self, function: Run, *, timeout_s: float = 60, **changes: Any) -> Outcome:
        job = ClaimedJob(ids.new_token(), "t", 1, 5, 0, 0, None, '{"type":"t","a":1}')._replace(**changes)
        started_s = self.link.begin(raw_id(job.id), timeout_s)
        outcome = self.runner.run(Handler("t", function), job, "q", ids.new_token(), started_s)
        self.link.end()
        return outcome


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def raising(error: BaseException) -> Run:
    def run(_: Any) -> None:
        raise error

    return run


def test_a_result_becomes_json_text_and_none_stays_none(bench: Bench) -> None:
    completed = bench.run(lambda job: {"payload": job.payload, "ü": [1, 2.5, None]})
    assert isinstance(completed, Completed)
    assert completed.result == '{"payload":{"a":1},"ü":[1,2.5,null]}'
    assert completed.finished_s >= completed.started_s
    nothing = bench.run(lambda job: None)
    assert isinstance(nothing, Completed)
    assert nothing.result is None


@pytest.mark.parametrize(
    "result",
    [{1, 2}, object(), float("nan"), {"deep": [float("inf")]}, "x" * MAX_JSON_BYTES, b"bytes", {1: "int key"}, 2**70],
    ids=["set", "object", "nan", "infinity", "too large", "bytes", "int key", "large int"],
)
def test_a_result_that_json_cannot_say_fails_the_job_for_good(bench: Bench, result: Any) -> None:
    failed = bench.run(lambda job: result)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.retry_in_s, failed.type) == (RESULT_UNSTORABLE, None, "ResultUnstorable")


def test_a_result_without_end_fails_the_job_for_good(bench: Bench) -> None:
    endless: list[Any] = []
    endless.append(endless)
    failed = bench.run(lambda job: endless)
    assert isinstance(failed, Failed)
    assert failed.reason == RESULT_UNSTORABLE


def test_an_exception_is_a_failure_with_its_place_and_a_delay_of_full_jitter(bench: Bench) -> None:
    delays = []
    for _ in range(50):
        failed = bench.run(raising(ValueError("no such customer")), attempt=3)
        assert isinstance(failed, Failed)
        assert (failed.type, failed.cause, failed.reason) == ("ValueError", "exception", None)
        assert failed.message == "no such customer"
        assert re.fullmatch(r"/.*/test_run_job\.py:[0-9]+ run", failed.raised_in or "")
        assert "in run\n    raise error\nValueError: no such customer" in (failed.traceback or "")
        delays.append(failed.retry_in_s or 0)
    assert 0 <= min(delays) < max(delays) <= 8


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError(), MemoryError()]
)
def test_what_would_end_a_program_is_only_a_failure_of_its_job(bench: Bench, error: BaseException) -> None:
    failed = bench.run(raising(error))
    assert isinstance(failed, Failed)
    assert (failed.type, failed.cause) == (type(error).__name__, "exception")


def test_an_error_whose_class_cannot_be_hashed_is_a_failure_like_any_other(bench: Bench) -> None:
    class Compared(type):
        def __eq__(cls, other: object) -> bool:
            raise SystemExit

        __hash__ = None  # type: ignore[assignment]

    class OddError(Exception, metaclass=Compared):
        pass

    failed = bench.run(raising(OddError("odd")))
    assert isinstance(failed, Failed)
    assert (failed.type, failed.cause) == ("OddError", "exception")


def test_a_lost_transaction_whose_class_hides_its_cause_is_an_interruption(bench: Bench) -> None:
    outcome = None
    with suppress(ZeroDivisionError):  # of which pytest could not show the context
        outcome = bench.run(raising(Hidden("gone")))
    assert isinstance(outcome, Failed)
    assert outcome.cause == INTERRUPTED


def test_another_thread_of_the_handlers_may_not_begin_its_jobs_transaction(bench: Bench) -> None:
    def run(job: Any) -> str:
        with ThreadPoolExecutor() as pool:
            return type(pool.submit(lambda: job.transaction().__enter__()).exception()).__name__

    completed = bench.run(run, timeout_s=1)
    assert isinstance(completed, Completed)
    assert completed.result == '"TransactionStateError"'


def test_an_error_whose_text_cannot_be_read_is_a_failure_like_any_other(bench: Bench) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    failed = bench.run(raising(Mute()))
    assert isinstance(failed, Failed)
    assert "cannot be read" in failed.message


def test_retry_and_fail_say_how_it_goes_on(bench: Bench) -> None:
    asked = bench.run(raising(Retry(after_s=7)))
    assert isinstance(asked, Failed)
    assert (asked.retry_in_s, asked.reason) == (7, None)
    usual = bench.run(raising(Retry()))
    assert isinstance(usual, Failed)
    assert usual.retry_in_s is not None
    given_up = bench.run(raising(Fail("no such account")))
    assert isinstance(given_up, Failed)
    assert (given_up.retry_in_s, given_up.reason, given_up.message) == (None, NON_RETRYABLE, "no such account")


def test_a_handler_is_told_to_stop_when_its_worker_drains_or_its_time_is_over(bench: Bench) -> None:
    def run(job: Any) -> list[Any]:
        told = [job.should_stop(), 55 < job.remaining_s() <= 60]
        bench.memory.header.raw[m.H_MODE] = m.MODE_DRAIN
        return [*told, job.should_stop()]

    drained = bench.run(run)
    bench.memory.header.raw[m.H_MODE] = 0
    assert isinstance(drained, Completed)
    assert drained.result == "[false,true,true]"
    late = bench.run(lambda job: [job.should_stop(), job.remaining_s()], timeout_s=0)
    assert isinstance(late, Completed)
    assert late.result == "[true,0.0]"


def test_a_payload_that_does_not_fit_fails_once_and_for_good(bench: Bench) -> None:
    """However it came past the ways in: the worker checks it before the handler."""
    handler = registry.get("sleep")
    assert handler is not None
    job = ClaimedJob(ids.new_token(), "sleep", 1, 5, 0, 0, None, '{"type":"sleep","seconds":"long","x":1}')
    failed = bench.runner.run(handler, job, "q", ids.new_token(), bench.link.begin(raw_id(job.id), 60))
    assert isinstance(failed, Failed)
    assert (failed.type, failed.reason, failed.retry_in_s) == ("InvalidPayload", NON_RETRYABLE, None)
    assert failed.message == (
        "the payload does not fit type sleep: payload.seconds: must be a number; payload.x: is not a field"
    )


@pytest.mark.parametrize(("job_s", "type_s", "taken_s"), [(None, None, 900), (None, 7, 7), (3.0, 7, 3)])
def test_the_time_is_the_jobs_else_its_types_else_the_settings(
    bench: Bench, job_s: float | None, type_s: float | None, taken_s: float
) -> None:
    job = ClaimedJob(ids.new_token(), "t", 1, 5, 0, 0, job_s, "{}")
    assert bench.runner.timeout_s(Handler("t", lambda job: None, timeout_s=type_s), job) == taken_s


def test_an_interrupt_ends_an_overdue_task_by_an_exception_that_no_except_exception_stops(bench: Bench) -> None:
    def stubborn(_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
            pause(10)
        except Exception:
            pytest.fail("a broad except has caught it")

    before = signal.signal(signal.SIGUSR2, bench.runner.interrupt)
    try:
        failed = bench.run(stubborn, timeout_s=0)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert isinstance(failed, Failed)
    assert (failed.type, failed.cause) == ("JobTimeout", "timeout")


def test_an_interrupt_for_another_task_or_between_tasks_is_ignored(bench: Bench) -> None:
    bench.runner.interrupt(signal.SIGUSR2, None)
    bench.bank.set_id(m.B_CANCEL, ids.new_token())

    def calm(_: Any) -> str:
        bench.runner.interrupt(signal.SIGUSR2, None)
        return "done"

    completed = bench.run(calm)
    assert isinstance(completed, Completed)


def test_an_interrupt_for_a_cancelled_task_is_told_as_such(bench: Bench) -> None:
    def run(job: Any) -> None:
        bench.bank.set_id(m.B_CANCEL, job.id)
        bench.runner.interrupt(signal.SIGUSR2, None)

    failed = bench.run(run)
    assert isinstance(failed, Failed)
    assert (failed.type, failed.cause) == ("JobCancelled", "cancelled")
