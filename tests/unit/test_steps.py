"""The steps of a turn: what one of them raises stays there, and is told."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from supervisor.processes import UNKNOWN, cause, is_shortage, reap
from supervisor.steps import LOST_TURNS_LIMIT, Steps
from tests.harness.forks import fork


def broken() -> None:
    raise KeyError("nobody expected this")


@pytest.mark.parametrize("error", [ValueError(), OSError(24, "none left"), MemoryError(), SystemExit(3), KeyError("x")])
def test_whatever_a_step_raises_the_next_one_runs_and_one_line_tells(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    steps, done = Steps(), []

    def fails() -> None:
        if steps.failures < 3:
            raise error

    with caplog.at_level(logging.INFO):
        for turn in range(5):
            steps.run("first", fails)
            steps.run("second", done.append, turn)
    assert done == [0, 1, 2, 3, 4]
    assert steps.failures == 3
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "supervisor.step_failed",
        "supervisor.step_resumes",
    ]


def test_supervision_is_lost_when_every_vital_step_has_failed_for_many_turns_in_a_row() -> None:
    steps = Steps()
    for _ in range(LOST_TURNS_LIMIT - 1):
        steps.run("reap.w0", broken, is_vital=True)
        steps.run("other", int)
        assert steps.end_turn()
    steps.run("reap.w0", broken, is_vital=True)
    assert not steps.end_turn()


def test_supervision_is_not_lost_while_one_slot_can_be_looked_after() -> None:
    steps = Steps()
    for _ in range(LOST_TURNS_LIMIT * 2):
        steps.run("reap.w0", broken, is_vital=True)
        steps.run("reap.w1", int, is_vital=True)
        assert steps.end_turn()


@pytest.mark.parametrize("number", [number for number in range(1, 65) if number not in (32, 33)])
def test_every_signal_that_ends_a_child_is_a_cause_with_a_name(number: int) -> None:
    assert cause(number).startswith("signal:SIG")
    assert cause(number) in {f"signal:{signal.Signals(n).name}" for n in signal.Signals} | {
        f"signal:SIGRTMIN+{n}" for n in range(31)
    } | {"signal:SIGSTKFLT"}


def test_a_wait_status_is_told_in_words() -> None:
    assert [cause(status) for status in (9, 40, 3 << 8, UNKNOWN, 33)] == [
        "signal:SIGKILL", "signal:SIGRTMIN+6", "exit:3", "unknown", "signal:33",
    ]  # fmt: skip


def test_a_child_that_somebody_else_has_reaped_has_ended_all_the_same() -> None:
    pid = fork(lambda: None)
    os.waitpid(pid, 0)
    ended = reap(pid)
    assert ended is not None
    assert ended.status == UNKNOWN


def test_a_lack_of_descriptors_is_known_also_where_another_error_came_of_it() -> None:
    def raised(error: BaseException, origin: BaseException) -> BaseException:
        error.__context__ = origin
        return error

    assert is_shortage(raised(RuntimeError(), OSError(24, "EMFILE")))
    assert is_shortage(MemoryError())
    assert not is_shortage(raised(OSError(2, "ENOENT"), KeyError()))
