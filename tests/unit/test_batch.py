"""What a child holds, taken by two threads from both ends."""

from __future__ import annotations

import threading

import pytest

from taskhub import ids
from taskhub.child.batch import Batch, raw_id, using_up
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Failed


def job() -> ClaimedJob:
    return ClaimedJob(ids.new_token(), "t", 1, 5, 0, 0, None, "{}")


def completed(name: str) -> Completed:
    return Completed(name, None, 0.0, 1.0)


def names(batch: Batch) -> list[str]:
    return [outcome.id for outcome in batch.completed]


def test_outcomes_whose_settlement_fails_come_before_newer_ones_in_their_old_order() -> None:
    batch = Batch()
    batch.completed.extend([completed("a"), completed("b")])

    def fail() -> None:
        with using_up(batch.completed) as outcomes:
            outcomes.clear()
            batch.keep(completed("c"))
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert names(batch) == ["a", "b", "c"]
    with using_up(batch.completed) as outcomes:
        assert [outcome.id for outcome in outcomes] == ["a", "b", "c"]
        del outcomes[1:]  # those are settled
    assert names(batch) == ["a"]


def test_jobs_that_cannot_be_given_back_are_still_held_in_their_order() -> None:
    batch, jobs = Batch(), [job() for _ in range(4)]
    batch.take_over("q", ids.new_token(), jobs)

    def fail() -> None:
        with using_up(batch.pending) as given_back:
            assert {found.id for found in given_back} == {found.id for found in jobs}
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        fail()
    assert list(batch.pending) == jobs
    with using_up(batch.pending, lambda found: found is jobs[2]) as given_back:
        assert given_back == [jobs[2]]
        given_back.clear()
    assert list(batch.pending) == [jobs[0], jobs[1], jobs[3]]


def test_a_claim_replaces_lease_and_jobs() -> None:
    batch, lease, jobs = Batch(), ids.new_token(), [job(), job()]
    batch.take_over("q", lease, jobs)
    assert (batch.queue, batch.lease, batch.token) == ("q", lease, raw_id(lease))
    assert [found.id for found in batch.pending] == list(batch.jobs) == [found.id for found in jobs]


def test_two_threads_never_get_the_same_job() -> None:
    batch, jobs = Batch(), [job() for _ in range(20_000)]
    batch.take_over("q", ids.new_token(), jobs)
    given_back: list[ClaimedJob] = []

    def give_back() -> None:
        with using_up(batch.pending) as unbegun:
            given_back.extend(unbegun)
            unbegun.clear()

    helper = threading.Thread(target=give_back)
    begun = []
    helper.start()
    while batch.pending:
        try:
            begun.append(batch.pending.popleft())
        except IndexError:
            break
    helper.join()
    assert len(begun) + len(given_back) == len(jobs)
    assert {found.id for found in begun} | {found.id for found in given_back} == {found.id for found in jobs}


def test_outcomes_lie_apart_by_how_they_are_settled() -> None:
    batch, failed = Batch(), Failed("f", "E", "m", "exception", 1.0, None, 0.0, 1.0)
    assert not batch.is_unsettled
    for outcome in (completed("a"), failed, completed("b")):
        batch.keep(outcome)
    assert (names(batch), list(batch.others)) == (["a", "b"], [failed])
    batch.completed.clear()
    assert batch.is_unsettled
