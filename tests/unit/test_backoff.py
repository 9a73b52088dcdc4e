"""Backoff: full jitter under a doubling bound with a cap."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from taskhub.domain import backoff
from taskhub.domain.backoff import reconnect_delay_s, retry_delay_s

times = st.floats(0.001, 1e6)


def largest(low: float, high: float) -> float:
    return high


def smallest(low: float, high: float) -> float:
    return low


def test_the_examples_in_the_module_hold() -> None:
    assert doctest.testmod(backoff).failed == 0


def test_the_bound_doubles_up_to_the_cap() -> None:
    bounds = [retry_delay_s(n, base_s=2, cap_s=20, draw=largest) for n in range(1, 7)]
    assert bounds == [2, 4, 8, 16, 20, 20]


@given(st.integers(-5, 10_000), times, times)
def test_a_retry_waits_between_nothing_and_the_cap(failures: int, base_s: float, cap_s: float) -> None:
    assert retry_delay_s(failures, base_s, cap_s, draw=smallest) == 0
    assert 0 <= retry_delay_s(failures, base_s, cap_s) <= cap_s


@given(st.integers(-5, 10_000), times, times)
def test_a_reconnect_waits_at_least_half_its_bound(failures: int, base_s: float, cap_s: float) -> None:
    bound = reconnect_delay_s(failures, base_s, cap_s, draw=largest)
    assert 0 < bound <= cap_s
    assert bound / 2 <= reconnect_delay_s(failures, base_s, cap_s) <= bound
