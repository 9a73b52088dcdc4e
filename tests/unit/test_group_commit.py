"""Many requests, one commit: who goes with whom, and what each gets to hear."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from taskhub.domain.errors import InvalidRequestError, StoreUnavailableError
from taskhub.services.group_commit import GroupCommit, Ticket
from tests.waiting import wait_until

Batch = list[Ticket[int, list[str]]]


class Lane:
    """A lane whose flushes the test lets go one by one."""

    def __init__(self, limit: int = 100) -> None:
        self.flushed: list[list[int]] = []
        self.after: list[list[int]] = []
        self.fail: Exception | None = None
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.commits = GroupCommit[int, list[str]](
            self._flush, lambda batch, ticket: sum(len(t.rows) for t in batch) + len(ticket.rows) <= limit, self._after
        )

    def waiting(self) -> int:
        return len(self.commits._waiting)

    def _flush(self, batch: Batch) -> None:
        self.begun.release()
        assert self.gate.acquire(timeout=10)
        if self.fail is not None:
            raise self.fail
        self.flushed.append([row for ticket in batch for row in ticket.rows])
        for ticket in batch:
            if 13 in ticket.rows:
                ticket.error = InvalidRequestError("thirteen")
            else:
                ticket.result = [f"done {row}" for row in ticket.rows]

    def _after(self, batch: Batch) -> None:
        self.after.append([row for ticket in batch for row in ticket.rows])


def asked(lane: Lane, threads: ThreadPoolExecutor, *requests: list[int]) -> list[Future[list[str]]]:
    """Requests that arrive one after the other while the first is being flushed."""
    made = [threads.submit(lane.commits.commit, requests[0])]
    assert lane.begun.acquire(timeout=10)
    for number, rows in enumerate(requests[1:], start=1):
        made.append(threads.submit(lane.commits.commit, rows))
        wait_until(lambda wanted=number: lane.waiting() == wanted, 10, "the request waits")
    return made


def test_one_alone_leads_its_own_flush() -> None:
    lane = Lane()
    lane.gate.release()
    assert lane.commits.commit([1, 2]) == ["done 1", "done 2"]
    assert lane.flushed == lane.after == [[1, 2]]


def test_those_who_wait_go_together_with_the_next() -> None:
    lane = Lane()
    with ThreadPoolExecutor(4) as threads:
        answers = asked(lane, threads, [1], [2], [3], [4])
        assert not any(answer.done() for answer in answers), "nobody is answered before the flush"
        lane.gate.release(2)
        assert [answer.result(10) for answer in answers] == [["done 1"], ["done 2"], ["done 3"], ["done 4"]]
    assert lane.flushed == [[1], [2, 3, 4]]
    assert sorted(lane.after) == [[1], [2, 3, 4]]


def test_what_does_not_fit_waits_for_its_turn() -> None:
    lane = Lane(limit=3)
    with ThreadPoolExecutor(5) as threads:
        answers = asked(lane, threads, [1], [2, 3], [4, 5, 6, 7], [8], [9])
        lane.gate.release(4)
        for answer in answers:
            answer.result(10)
    assert lane.flushed == [[1], [2, 3, 8], [4, 5, 6, 7], [9]]


def test_a_bad_request_fails_alone() -> None:
    lane = Lane()
    with ThreadPoolExecutor(4) as threads:
        answers = asked(lane, threads, [1], [2], [13], [4])
        lane.gate.release(2)
        assert [answer.exception(10) is None for answer in answers] == [True, True, False, True]
        assert isinstance(answers[2].exception(), InvalidRequestError)


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
    assert lane.commits.commit([4]) == ["done 4"]


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
    assert lane.commits.commit([3]) == ["done 3"]


def test_many_threads_all_get_their_own_answer() -> None:
    lane = Lane()
    lane.gate.release(10_000)
    with ThreadPoolExecutor(16) as threads:
        rows = [n for n in range(1_000) if n != 13]
        assert list(threads.map(lambda n: lane.commits.commit([n]), rows)) == [[f"done {n}"] for n in rows]
    assert sorted(row for batch in lane.flushed for row in batch) == rows
