"""What a child holds, taken by two threads from both ends."""

from __future__ import annotations

import threading

import pytest

from taskhub import ids
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Failed
from taskhub.execution.holding import Holding, raw_id, split


def job() -> ClaimedJob:
    return ClaimedJob(ids.new_token(), "t", 1, 5, 0, 0, None, "{}")


def completed(name: str) -> Completed:
    return Completed(name, None, 0.0, 1.0)


def names(holding: Holding) -> list[str]:
    return [outcome.id for outcome in holding.finished]


def test_outcomes_whose_settlement_fails_come_before_newer_ones_in_their_old_order() -> None:
    holding = Holding()
    holding.finished.extend([completed("a"), completed("b")])

    def fail() -> None:
        with holding.finished_taken() as taken:
            taken.clear()
            holding.finished.append(completed("c"))
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert names(holding) == ["a", "b", "c"]
    with holding.finished_taken() as taken:
        assert [outcome.id for outcome in taken] == ["a", "b", "c"]
        del taken[1:]  # those are settled
    assert names(holding) == ["a"]


def test_jobs_that_cannot_be_given_back_are_still_held_in_their_order() -> None:
    holding, jobs = Holding(), [job() for _ in range(4)]
    holding.take_over("q", ids.new_token(), jobs)

    def fail() -> None:
        with holding.pending_taken() as taken:
            assert {found.id for found in taken} == {found.id for found in jobs}
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        fail()
    assert list(holding.pending) == jobs
    with holding.pending_taken(lambda found: found is jobs[2]) as taken:
        assert taken == [jobs[2]]
        taken.clear()
    assert list(holding.pending) == [jobs[0], jobs[1], jobs[3]]


def test_a_claim_replaces_lease_and_jobs() -> None:
    holding, lease, jobs = Holding(), ids.new_token(), [job(), job()]
    holding.take_over("q", lease, jobs)
    assert (holding.queue, holding.lease, holding.token) == ("q", lease, raw_id(lease))
    assert [found.id for found in holding.pending] == list(holding.jobs) == [found.id for found in jobs]
    holding.take_over("q", None, [])
    assert holding.token == bytes(16)


def test_two_threads_never_get_the_same_job() -> None:
    holding, jobs = Holding(), [job() for _ in range(20_000)]
    holding.take_over("q", ids.new_token(), jobs)
    given_back: list[ClaimedJob] = []

    def give_back() -> None:
        with holding.pending_taken() as taken:
            given_back.extend(taken)
            taken.clear()

    helper = threading.Thread(target=give_back)
    begun = []
    helper.start()
    while holding.pending:
        try:
            begun.append(holding.pending.popleft())
        except IndexError:
            break
    helper.join()
    assert len(begun) + len(given_back) == len(jobs)
    assert {found.id for found in begun} | {found.id for found in given_back} == {found.id for found in jobs}


def test_outcomes_are_split_by_how_they_are_settled() -> None:
    failed = Failed("f", "E", "m", "exception", 1.0, None, 0.0, 1.0)
    assert split([completed("a"), failed, completed("b")]) == ([completed("a"), completed("b")], [failed])
