"""Whose turn it is among several queues."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from taskhub.child.served_queues import QueueRotation


def served(rotation: QueueRotation, times: int) -> list[str]:
    order = []
    for _ in range(times):
        order.append(rotation.order()[0])
        rotation.served(order[-1])
    return order


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=1))
def test_over_a_round_each_queue_has_as_many_turns_as_it_weighs(weights: dict[str, int]) -> None:
    assert Counter(served(QueueRotation(weights), sum(weights.values()))) == weights


def test_turns_are_spread_and_not_bunched() -> None:
    assert "".join(served(QueueRotation({"a": 5, "b": 1, "c": 1}), 7)) == "aabacaa"


def test_a_queue_that_was_empty_for_long_has_no_arrears_to_claim() -> None:
    rotation = QueueRotation({"busy": 1, "empty": 1})
    for _ in range(1_000):
        rotation.served("busy")
    assert served(rotation, 6).count("busy") >= 2


def test_every_queue_is_tried_whatever_its_weight() -> None:
    assert sorted(QueueRotation({"a": 100, "b": 1, "c": 1}).order()) == ["a", "b", "c"]


def test_queues_that_come_later_take_part_and_those_that_go_do_not() -> None:
    rotation = QueueRotation({"a": 1, "b": 1})
    served(rotation, 1)
    rotation.reweigh({"b": 1, "c": 1})
    assert rotation.queues == ["b", "c"]
    assert set(served(rotation, 2)) == {"b", "c"}
