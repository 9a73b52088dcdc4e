"""What a child holds, taken by two threads from both ends."""

from __future__ import annotations

import threading

from taskhub import ids
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed, Failed
from taskhub.execution.holding import Holding, raw_id, split


def job() -> ClaimedJob:
    return ClaimedJob(ids.new_token(), "t", 1, 5, 0, 0, None, "{}")


def completed(name: str) -> Completed:
    return Completed(name, None, 0.0, 1.0)


def test_outcomes_put_back_come_before_newer_ones_in_their_old_order() -> None:
    holding = Holding()
    holding.finished.extend([completed("a"), completed("b")])
    drained = holding.drain_finished()
    holding.finished.append(completed("c"))
    holding.put_back(drained)
    assert [outcome.id for outcome in holding.drain_finished()] == ["a", "b", "c"]
    assert holding.drain_finished() == []


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
    helper = threading.Thread(target=lambda: given_back.extend(holding.drain_pending()))
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
