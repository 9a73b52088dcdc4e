"""Many requests, one commit: who goes with whom, and what each gets to hear."""

from __future__ import annotations

import linecache
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from taskhub.domain.errors import (
    BlockedError,
    SchemaOutdatedError,
    StatementError,
    StoreUnavailableError,
)
from taskhub.services.submission import group_commit
from taskhub.services.submission.failed_flush import settle_failed
from taskhub.services.submission.group_commit import GroupCommit, PendingCommit
from tests.waiting import pause, wait_until

Group = list[PendingCommit[int, list[str]]]


class Lane:
    """A lane whose flushes the test lets go one by one."""

    def __init__(self, limit: int = 100, late_s: float = 60.0) -> None:
        self.flushed: list[list[int]] = []
        self.led: list[list[int]] = []
        self.fail: BaseException | None = None
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.limit = limit
        self.commits = GroupCommit[int, list[str]](self, late_s=late_s)

    def commit(self, rows: list[int], within_s: float = 30.0) -> list[str] | None:
        """None: the rows are to go alone."""
        pending = PendingCommit[int, list[str]](rows, time.monotonic() + within_s)
        led = self.commits.commit(pending)
        if led:
            self.led.append([row for each in led for row in each.rows])
        return settled(pending)

    def fits(self, group: Group, pending: PendingCommit[int, list[str]]) -> bool:
        return sum(len(each.rows) for each in group) + len(pending.rows) <= self.limit

    def waiting(self) -> int:
        return len(self.commits._waiting)

    def flush(self, group: Group) -> None:
        self.begun.release()
        assert self.gate.acquire(timeout=10)
        if self.fail is not None:
            if not isinstance(self.fail, Exception) or settle_failed(group, self.fail):
                raise self.fail
            return
        self.flushed.append([row for pending in group for row in pending.rows])
        for pending in group:
            pending.goes_alone = 13 in pending.rows
            if not pending.goes_alone:
                pending.result = [f"done {row}" for row in pending.rows]


def settled(pending: PendingCommit[int, list[str]]) -> list[str] | None:
    """Its result. Raises its error."""
    if pending.error is not None:
        raise pending.error
    return pending.result


class Plain:
    """A lane whose requests all go together, each flush in so many seconds."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self._takes_s = takes_s

    def fits(self, group: Group, pending: PendingCommit[int, list[str]]) -> bool:
        return True

    def flush(self, group: Group) -> None:
        if self._takes_s:
            pause(self._takes_s)
        for pending in group:
            pending.result = [f"done {pending.rows[0]}"]


def asked(lane: Lane, threads: ThreadPoolExecutor, *requests: list[int]) -> list[Future[list[str] | None]]:
    """Requests that arrive one after the other while the first is being flushed."""
    made = [threads.submit(lane.commit, requests[0])]
    assert lane.begun.acquire(timeout=10)
    for number, rows in enumerate(requests[1:], start=1):
        made.append(threads.submit(lane.commit, rows))
        wait_until(lambda wanted=number: lane.waiting() == wanted, 10, "the request waits")
    return made


def test_one_alone_leads_its_own_flush() -> None:
    lane = Lane()
    lane.gate.release()
    assert lane.commit([1, 2]) == ["done 1", "done 2"]
    assert lane.flushed == lane.led == [[1, 2]]


def test_those_who_wait_go_together_with_the_next() -> None:
    lane = Lane()
    with ThreadPoolExecutor(4) as threads:
        answers = asked(lane, threads, [1], [2], [3], [4])
        assert not any(answer.done() for answer in answers), "nobody is answered before the flush"
        lane.gate.release(2)
        assert [answer.result(10) for answer in answers] == [["done 1"], ["done 2"], ["done 3"], ["done 4"]]
    assert lane.flushed == [[1], [2, 3, 4]]
    assert sorted(lane.led) == [[1], [2, 3, 4]]


def test_what_does_not_fit_waits_for_its_turn() -> None:
    lane = Lane(limit=3)
    with ThreadPoolExecutor(5) as threads:
        answers = asked(lane, threads, [1], [2, 3], [4, 5, 6, 7], [8], [9])
        lane.gate.release(4)
        for answer in answers:
            answer.result(10)
    assert lane.flushed == [[1], [2, 3, 8], [4, 5, 6, 7], [9]]


def test_what_a_flush_could_not_settle_goes_alone() -> None:
    lane = Lane()
    with ThreadPoolExecutor(4) as threads:
        answers = asked(lane, threads, [1], [2], [13], [4])
        lane.gate.release(2)
        assert [answer.result(10) for answer in answers] == [["done 1"], ["done 2"], None, ["done 4"]]


def test_when_the_store_is_away_all_who_wait_hear_it_at_once_and_the_next_try_again() -> None:
    lane = Lane()
    lane.fail = StoreUnavailableError("away", outcome_unknown=True)
    with ThreadPoolExecutor(4) as threads:
        answers = asked(lane, threads, [1], [2], [3])
        lane.gate.release()
        errors = [answer.exception(10) for answer in answers]
    assert all(isinstance(error, StoreUnavailableError) for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert [error.outcome_unknown for error in errors if isinstance(error, StoreUnavailableError)] == [
        True,
        False,
        False,
    ]
    assert lane.flushed == []
    lane.fail = None
    lane.gate.release()
    assert lane.commit([4]) == ["done 4"]


def test_a_bug_in_a_flush_is_told_and_blocks_nobody() -> None:
    lane = Lane()
    lane.fail = KeyError("bug")
    with ThreadPoolExecutor(3) as threads:
        answers = asked(lane, threads, [1], [2])
        lane.gate.release(2)
        for answer in answers:
            with pytest.raises(KeyError):
                answer.result(10)
    lane.fail = None
    lane.gate.release()
    assert lane.commit([3]) == ["done 3"]


def test_many_threads_all_get_their_own_answer() -> None:
    lane = Lane()
    lane.gate.release(10_000)
    with ThreadPoolExecutor(16) as threads:
        rows = [n for n in range(1_000) if n != 13]
        assert list(threads.map(lambda n: lane.commit([n]), rows)) == [[f"done {n}"] for n in rows]
    assert sorted(row for group in lane.flushed for row in group) == rows


def test_a_late_flush_holds_up_only_those_on_it() -> None:
    lane = Lane(late_s=0.02)
    with ThreadPoolExecutor(4) as threads:
        late = threads.submit(lane.commit, [1])
        assert lane.begun.acquire(timeout=10)
        others = [threads.submit(lane.commit, [number]) for number in (2, 3)]
        assert lane.begun.acquire(timeout=10), "the next flush begins"
        wait_until(lambda: not lane.waiting(), 10, "nobody is left to wait")
        lane.gate.release(3)
        assert [each.result(10) for each in (late, *others)] == [["done 1"], ["done 2"], ["done 3"]]


def test_flushes_at_once_are_few_and_who_waits_longer_than_its_time_hears_so() -> None:
    lane = Lane(late_s=0.01)
    with ThreadPoolExecutor(8) as threads:
        flushing = []
        for number in range(3):
            flushing.append(threads.submit(lane.commit, [number]))
            assert lane.begun.acquire(timeout=10)
        error = threads.submit(lane.commit, [9], 0.2).exception(10)
        assert isinstance(error, StoreUnavailableError)
        assert not error.outcome_unknown
        assert not lane.begun.acquire(blocking=False)
        assert lane.waiting() == 0
        lane.gate.release(3)
        assert [each.result(10) for each in flushing] == [["done 0"], ["done 1"], ["done 2"]]


@pytest.mark.parametrize(
    "error", [BlockedError("locked"), MemoryError(), StatementError("no", "23514"), SchemaOutdatedError("a trigger's")]
)
def test_rows_whose_flush_failed_go_alone_so_that_each_raises_its_own(error: Exception) -> None:
    lane = Lane()
    lane.fail = error
    with ThreadPoolExecutor(3) as threads:
        first, *together = asked(lane, threads, [1], [2], [3])
        lane.gate.release(2)
        assert [each.result(10) for each in together] == [None, None], "they are to go alone"
        if isinstance(error, BlockedError):
            assert first.result(10) is None
        else:
            assert first.exception(10) is error


def test_when_the_leader_is_interrupted_the_others_go_with_the_next() -> None:
    class InterruptError(BaseException):
        pass

    lane = Lane()
    lane.fail = InterruptError()
    with ThreadPoolExecutor(4) as threads:
        first, *others = asked(lane, threads, [1], [2], [3], [4])
        lane.gate.release()  # [1] is interrupted, then whoever leads [2, 3, 4]
        with pytest.raises(InterruptError):
            first.result(10)
        assert lane.begun.acquire(timeout=10)
        lane.gate.release()
        assert lane.begun.acquire(timeout=10), "another leads"
        lane.fail = None
        lane.gate.release()
        interrupted = [each for each in others if isinstance(each.exception(10), InterruptError)]
        assert len(interrupted) == 1
        assert sorted(lane.flushed[0]) == sorted(
            number for number, each in zip((2, 3, 4), others, strict=True) if each not in interrupted
        )


class InterruptError(Exception):
    """As a signal's handler or another thread raises it."""


def interrupted_at(line: int, commit: Callable[[int], object]) -> bool:
    """Commit, and be interrupted at the n-th line of the lane's code that this thread runs; False if it ran through."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename != group_commit.__file__:
            return None
        if event == "line":
            left -= 1
            # At a `with` line the block may be over and its lock not yet free: there the interpreter raises nothing.
            if left <= 0 and not linecache.getline(group_commit.__file__, frame.f_lineno).strip().startswith("with "):
                raise InterruptError
        return trace

    sys.settrace(trace)
    try:
        commit(2)
    except InterruptError:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("is_slow", [False, True])
def test_threads_that_are_interrupted_at_any_line_strand_nobody(is_slow: bool) -> None:
    """Whether they lead or wait; those beside them never notice."""

    def commit(row: int) -> list[str] | None:
        pending = PendingCommit[int, list[str]]([row], time.monotonic() + 5.0)
        commits.commit(pending)
        return settled(pending)

    def steady() -> list[list[str] | None]:
        answers = []
        while not is_over.is_set():
            answers.append(commit(1))
        return answers

    commits = GroupCommit[int, list[str]](Plain(0.002 if is_slow else 0.0), late_s=0.02)
    is_over = threading.Event()
    interrupted = 0
    with ThreadPoolExecutor(2) as threads:
        beside = [threads.submit(steady) for _ in range(2)]
        try:
            for line in range(1, 120):
                interrupted += interrupted_at(line, commit)
        finally:
            is_over.set()
        answers = [answer for each in beside for answer in each.result(10)]
    assert interrupted > 40
    assert {tuple(answer) if answer else None for answer in answers} <= {("done 1",), None}
    assert commit(3) == ["done 3"]


def test_a_flush_whose_thread_is_interrupted_at_any_line_is_over_at_once() -> None:
    commits = GroupCommit[int, list[str]](Plain(), late_s=60.0)
    for line in range(1, 120):
        interrupted_at(line, lambda row: commits.commit(PendingCommit([row], time.monotonic() + 60.0)))
        pending = PendingCommit[int, list[str]]([3], time.monotonic() + 5.0)
        commits.commit(pending)
        assert settled(pending) == ["done 3"], f"after line {line}"
