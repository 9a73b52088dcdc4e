"""Whose turn it is among several queues."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskhub import clock
from taskhub.child.served_queues import QueueRotation, ServedQueues


def served(rotation: QueueRotation, times: int) -> list[str]:
    order = []
    for _ in range(times):
        order.append(next(rotation.order()))
        rotation.served(order[-1])
    return order


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=1))
def test_over_a_round_each_queue_has_as_many_turns_as_it_weighs(weights: dict[str, int]) -> None:
    assert Counter(served(QueueRotation(weights), sum(weights.values()))) == weights


def test_turns_are_spread_and_not_bunched() -> None:
    turns = "".join(served(QueueRotation({"a": 6, "b": 2, "c": 1}, lambda: 0.5), 18))
    assert "aaaa" not in turns
    assert max(map(len, turns.split("b"))) <= 6


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


def test_a_queue_that_rests_comes_last_until_it_is_woken() -> None:
    rotation = QueueRotation(dict.fromkeys("abc", 1), lambda: 0.5)
    order = rotation.order()
    assert [next(order), next(order)] == ["a", "b"]
    rotation.rest("a")
    rotation.served("b")
    assert [*rotation.order()] == ["c", "b", "a"]
    rotation.wake("a")
    assert [*rotation.order()] == ["a", "c", "b"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["served", "rest", "wake", "gone"])), max_size=30))
def test_whatever_came_of_earlier_looks_each_queue_is_looked_at_once(acts: list[tuple[str, str]]) -> None:
    rotation = QueueRotation(dict.fromkeys("abcdef", 1))
    for name, act in acts:
        for queue in rotation.order():
            if queue == name:
                break
        if act == "gone":
            rotation.reweigh(dict.fromkeys(set("abcdef") - {name}, 1))
            rotation.reweigh(dict.fromkeys("abcdef", 1))
        else:
            getattr(rotation, act)(name)
    assert sorted(rotation.order()) == list("abcdef")


def test_a_turn_among_many_queues_is_as_cheap_as_among_few() -> None:
    def steps(count: int) -> int:
        rotation, lines = QueueRotation({str(number): 1 for number in range(count)}), 0

        def trace(*_: object) -> Any:
            nonlocal lines
            lines += 1
            return trace

        next(rotation.order())
        sys.settrace(trace)
        try:
            for _ in range(10):
                queue = next(rotation.order())
                rotation.served(queue)
        finally:
            sys.settrace(None)
        return lines

    assert steps(5_000) == steps(5)


def test_children_begin_at_different_queues() -> None:
    firsts = {next(QueueRotation({str(number): 1 for number in range(1_000)}).order()) for _ in range(10)}
    assert len(firsts) > 1


def test_of_many_queues_those_that_were_just_empty_are_left_to_their_bells() -> None:
    queues = ServedQueues(QueueRotation({str(number): 1 for number in range(1_000)}), None)
    for queue in queues.order():
        queues.seen_empty(queue)
    assert [*queues.order()] == []
    queues.rang("7")
    assert [*queues.order()] == ["7"]
    queues.served("7")
    assert [*queues.order()] == ["7"]


def test_of_few_queues_all_are_looked_at_before_a_child_waits() -> None:
    queues = ServedQueues(QueueRotation(dict.fromkeys("abc", 1)), None)
    for queue in queues.order():
        queues.seen_empty(queue)
    assert sorted(queues.order()) == ["a", "b", "c"]


def test_a_queue_that_was_empty_is_looked_at_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    queues = ServedQueues(QueueRotation({str(number): 1 for number in range(10_000)}), None)
    for queue in queues.order():
        queues.seen_empty(queue)
    now_s = 104.9
    assert [*queues.order()] == []
    now_s = 105.1
    assert len([*queues.order()]) == 10_000
