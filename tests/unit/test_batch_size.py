"""How many jobs a child takes at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskhub.child.batch_size import BatchSize

BUDGET_S, BUDGET_BYTES = 0.05, 1000


def after(*batches: tuple[int, float]) -> int:
    """The next batch's size after batches of so many jobs of so many seconds each."""
    batch_size = BatchSize(BUDGET_S, BUDGET_BYTES)
    for count, seconds in batches:
        batch_size.record("q", count, count * seconds)
    return batch_size.wanted("q")


def test_what_is_unknown_comes_alone() -> None:
    assert after() == 1


def test_fast_jobs_come_in_batches_that_grow_step_by_step_up_to_a_limit() -> None:
    sizes, done = [], []
    for _ in range(6):
        sizes.append(after(*done))
        done.append((sizes[-1], 1e-6))
    assert sizes == [1, 8, 64, 500, 500, 500]


def test_where_nothing_named_is_a_job_any_more_the_next_claims_name_more_until_one_is() -> None:
    batch_size = BatchSize(BUDGET_S, BUDGET_BYTES)
    sizes = []
    for _ in range(5):
        sizes.append(batch_size.wanted("q"))
        batch_size.received("q", 0, 0)
    assert sizes == [1, 8, 64, 500, 500]
    assert batch_size.wanted("other") == 1
    for ends in (lambda: batch_size.received("q", 1, 10), lambda: batch_size.seen_empty("q")):
        batch_size.received("q", 0, 0)
        ends()
        assert batch_size.wanted("q") == 1


def test_a_batch_is_about_the_budgets_work() -> None:
    assert after(*[(10, 0.005)] * 30) == 10
    assert after(*[(1, 0.02)] * 30) == 2


def test_jobs_longer_than_the_budget_come_alone() -> None:
    assert after(*[(1, 10.0)] * 3) == 1


def test_slower_than_known_counts_at_once_and_faster_only_bit_by_bit() -> None:
    fast = [(100, 1e-4)] * 10
    assert after(*fast, (100, 0.05)) == 1
    slow = [(8, 0.05)] * 5
    assert after(*slow, (1, 1e-5)) < after(*slow, *[(1, 1e-5)] * 10)


def test_queues_are_known_apart() -> None:
    batch_size = BatchSize(BUDGET_S, BUDGET_BYTES)
    batch_size.record("fast", 100, 0.001)
    assert batch_size.wanted("fast") > 100
    assert batch_size.wanted("other") == 1


def test_a_batch_is_no_more_than_the_budgets_bytes_and_smaller_counts_only_bit_by_bit() -> None:
    batch_size = BatchSize(BUDGET_S, BUDGET_BYTES)
    batch_size.record("q", 100, 0.0)
    batch_size.received("q", 10, 1000)
    assert batch_size.wanted("q") == 10
    batch_size.received("q", 1, 5000)
    assert batch_size.wanted("q") == 1
    batch_size.received("q", 1, 1)
    assert batch_size.wanted("q") == 1
    for _ in range(30):
        batch_size.received("q", 1, 1)
    assert batch_size.wanted("q") == 500


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1e6)), max_size=20))
def test_a_size_is_always_from_one_to_the_limit(batches: list[tuple[int, float]]) -> None:
    batch_size = BatchSize(BUDGET_S, BUDGET_BYTES)
    for count, seconds in batches:
        batch_size.record("q", count, seconds)
        assert 1 <= batch_size.wanted("q") <= 500
