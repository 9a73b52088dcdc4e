"""Redis keys: each bears its queue's hash tag, so that a script touches one slot of a cluster."""

from __future__ import annotations

import pytest

from taskhub.broker import key_names

QUEUE = "mail.eu-1"
ALL = [
    key_names.ready(QUEUE, 4), key_names.again(QUEUE, 4), key_names.bell(QUEUE), key_names.epoch(QUEUE),
    key_names.inflight(QUEUE, "0190-worker", 3, 2, 1), *key_names.waiting(QUEUE),
]  # fmt: skip


def test_the_keys_are_those_of_the_contract() -> None:
    assert ALL[:5] == [
        "taskhub:{mail.eu-1}:ready:4",
        "taskhub:{mail.eu-1}:again:4",
        "taskhub:{mail.eu-1}:bell",
        "taskhub:{mail.eu-1}:epoch",
        "taskhub:{mail.eu-1}:inflight:0190-worker:3:2:1",
    ]


@pytest.mark.parametrize("key", ALL)
def test_the_keys_of_a_queue_lie_in_one_part_of_a_cluster(key: str) -> None:
    assert key.count("{") == key.count("}") == 1
    assert f"{{{QUEUE}}}" in key


def test_what_waits_is_listed_highest_priority_first_in_pairs() -> None:
    listed = key_names.waiting(QUEUE)
    assert listed[:2] == [key_names.again(QUEUE, 9), key_names.ready(QUEUE, 9)]
    assert listed[-2:] == [key_names.again(QUEUE, 0), key_names.ready(QUEUE, 0)]
    assert len(set(listed)) == 20
