"""What the broker and its scripts promise, on fakeredis and on a real Redis 6.2 alike."""

from __future__ import annotations

import pytest
from redis import Redis

from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError

QUEUE = "default"
TARGETS = [key_names.inflight(QUEUE, "worker", 0, 1, bank) for bank in (0, 1)]
NOBODY = "taskhub:{default}:inflight:nobody"


def take(
    broker: Broker, want: int = 10, children: int = 1, *, claimed: str = NOBODY, target: str = TARGETS[0]
) -> list[str]:
    return broker.take(QUEUE, claimed, target, want, children)


def taken_in_turn(broker: Broker, redis: Redis, want: int, children: int) -> list[list[str]]:
    """What children that settle at once get, until nothing is left."""
    batches = []
    while batch := take(broker, want, children):
        redis.delete(TARGETS[0])
        batches.append(batch)
    return batches


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


# Order


def test_ids_are_taken_in_the_order_in_which_they_were_pushed(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a", "b"])
    broker.push(QUEUE, 4, ["c"])
    assert take(broker) == ["a", "b", "c"]


def test_higher_priorities_are_taken_first(broker: Broker) -> None:
    for priority in (0, 9, 4):
        broker.push(QUEUE, priority, [f"fresh{priority}"])
    broker.push_again(QUEUE, 5, [(1.0, "again5")])
    assert take(broker) == ["fresh9", "again5", "fresh4", "fresh0"]


def test_ids_due_again_are_taken_by_due_time(broker: Broker) -> None:
    broker.push_again(QUEUE, 4, [(3.0, "late"), (1.5, "early")])
    broker.push_again(QUEUE, 4, [(2.0, "middle")])
    assert take(broker) == ["early", "middle", "late"]


def test_of_fresh_and_due_again_half_comes_from_each(broker: Broker) -> None:
    broker.push(QUEUE, 4, names("fresh", 10))
    broker.push_again(QUEUE, 4, [(float(n), f"again{n}") for n in range(10)])
    assert sorted(take(broker, 4)) == ["again0", "again1", "fresh0", "fresh1"]


@pytest.mark.parametrize(("fresh", "again"), [(1, 10), (10, 1), (0, 10), (10, 0)])
def test_where_one_kind_is_short_the_other_fills_the_batch(broker: Broker, fresh: int, again: int) -> None:
    broker.push(QUEUE, 4, names("fresh", fresh))
    broker.push_again(QUEUE, 4, [(float(n), f"again{n}") for n in range(again)])
    found = take(broker, 6)
    assert len(found) == 6
    assert len([name for name in found if name.startswith("fresh")]) == min(fresh, 6 - min(again, 3), 6)


@pytest.mark.parametrize("kind", ["fresh", "again"])
def test_alone_neither_kind_starves_the_other(broker: Broker, redis: Redis, kind: str) -> None:
    """A child that takes one at a time still meets both kinds before either is used up."""
    broker.push(QUEUE, 4, names("fresh", 20))
    broker.push_again(QUEUE, 4, [(float(n), f"again{n}") for n in range(20)])
    first = [batch[0] for batch in taken_in_turn(broker, redis, 1, 1)[:20]]
    assert any(name.startswith(kind) for name in first)


# Fair shares


def test_a_child_takes_not_more_than_its_share(broker: Broker) -> None:
    broker.push(QUEUE, 4, names("job", 10))
    assert len(take(broker, 100, 4)) == 3


def test_a_share_is_at_least_one_job(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["only"])
    assert take(broker, 100, 50) == ["only"]


def test_shares_empty_the_queue_without_loss(broker: Broker, redis: Redis) -> None:
    broker.push(QUEUE, 4, names("a", 50))
    broker.push(QUEUE, 9, names("b", 50))
    batches = taken_in_turn(broker, redis, 20, 2)
    assert sorted(name for batch in batches for name in batch) == sorted(names("a", 50) + names("b", 50))
    assert max(map(len, batches)) <= 20


def test_a_large_batch_is_moved_whole(broker: Broker, redis: Redis) -> None:
    made = names("job", 3_500)
    broker.push(QUEUE, 4, made)
    assert take(broker, 5_000) == made
    assert broker.inflight(TARGETS[0]) == made
    assert redis.exists(key_names.ready(QUEUE, 4)) == 0


# The in-flight lists


def test_taken_ids_lie_in_the_in_flight_list(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a", "b"])
    take(broker)
    assert broker.inflight(TARGETS[0]) == ["a", "b"]


def test_the_claimed_list_is_forgotten_as_the_next_is_filled(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a", "b"])
    take(broker, 1)
    assert take(broker, 1, claimed=TARGETS[0], target=TARGETS[1]) == ["b"]
    assert (broker.inflight(TARGETS[0]), broker.inflight(TARGETS[1])) == ([], ["b"])


def test_the_claimed_list_is_forgotten_even_if_nothing_waits(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a"])
    take(broker)
    assert take(broker, claimed=TARGETS[0], target=TARGETS[1]) == []
    assert broker.inflight(TARGETS[0]) == []


def test_a_take_whose_answer_was_lost_is_answered_the_same_again(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a", "b", "c"])
    first = take(broker, 2)
    assert take(broker, 100) == first == ["a", "b"]
    assert take(broker, claimed=TARGETS[0], target=TARGETS[1]) == ["c"]


def test_lists_can_be_forgotten_by_name(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a"])
    take(broker)
    broker.forget()
    broker.forget(TARGETS[0], TARGETS[1])
    assert broker.inflight(TARGETS[0]) == []


# Pushing


def test_pushing_nothing_is_harmless(broker: Broker, redis: Redis) -> None:
    broker.push(QUEUE, 4, [])
    assert broker.push_again(QUEUE, 4, []) == 0
    assert redis.keys() == []


def test_pushing_again_twice_counts_once_and_keeps_the_first_time(broker: Broker, redis: Redis) -> None:
    assert broker.push_again(QUEUE, 4, [(5.0, "a"), (6.0, "b")]) == 2
    assert broker.push_again(QUEUE, 4, [(9.0, "a"), (7.0, "c")]) == 1
    assert redis.zrange(key_names.again(QUEUE, 4), 0, -1, withscores=True) == [(b"a", 5.0), (b"b", 6.0), (b"c", 7.0)]
    assert broker.again_sizes([(QUEUE, 4)])[QUEUE, 4] == 3


def test_thousands_are_pushed_in_one_call(broker: Broker) -> None:
    broker.push(QUEUE, 4, names("a", 4_321))
    assert broker.push_again(QUEUE, 4, [(float(n), f"b{n}") for n in range(4_321)]) == 4_321
    assert broker.depths([QUEUE]) == {QUEUE: 8_642}


# The bell


def test_a_push_rings_and_a_wait_hears_it(broker: Broker) -> None:
    broker.push(QUEUE, 4, ["a"])
    assert broker.wait(["other", QUEUE], 1) == QUEUE


def test_pushing_again_rings_only_for_what_is_new(broker: Broker, redis: Redis) -> None:
    broker.push_again(QUEUE, 4, [(1.0, "a")])
    assert broker.wait([QUEUE], 1) == QUEUE
    broker.push_again(QUEUE, 4, [(1.0, "a")])
    assert redis.llen(key_names.bell(QUEUE)) == 0


def test_the_bell_holds_at_most_sixteen_tokens(broker: Broker, redis: Redis) -> None:
    for _ in range(3):
        broker.push(QUEUE, 4, names("a", 10))
        broker.push_again(QUEUE, 4, [(float(n), f"b{n}") for n in range(10)])
    assert redis.llen(key_names.bell(QUEUE)) == 16


def test_a_take_that_leaves_nothing_silences_the_bell(broker: Broker, redis: Redis) -> None:
    broker.push(QUEUE, 9, ["a"])
    broker.push(QUEUE, 4, ["b"])
    broker.push_again(QUEUE, 0, [(1.0, "c")])
    bells = []
    for number in range(3):
        take(broker, claimed=TARGETS[number % 2 - 1], target=TARGETS[number % 2], want=1)
        bells.append(redis.llen(key_names.bell(QUEUE)))
    assert bells == [3, 3, 0]


def test_a_take_that_finds_nothing_silences_the_bell(broker: Broker, redis: Redis) -> None:
    redis.lpush(key_names.bell(QUEUE), "1")
    take(broker)
    assert redis.llen(key_names.bell(QUEUE)) == 0


def test_a_wait_for_a_silent_bell_ends(broker: Broker) -> None:
    assert broker.wait([QUEUE], 0.05) is None


# Reads of maintenance


def test_the_tail_is_the_fresh_id_that_is_taken_next(broker: Broker) -> None:
    assert broker.tails([(QUEUE, 4)]) == {(QUEUE, 4): None}
    broker.push(QUEUE, 4, ["a", "b"])
    assert broker.tails([(QUEUE, 4)]) == {(QUEUE, 4): "a"}


def test_depths_count_every_priority_of_each_queue(broker: Broker) -> None:
    for priority in range(10):
        broker.push(QUEUE, priority, ["a", "b"])
    broker.push_again("other", 0, [(1.0, "a")])
    assert broker.depths([QUEUE, "other", "empty"]) == {QUEUE: 20, "other": 1, "empty": 0}
    assert broker.depths([]) == {}


def test_an_epoch_is_kept_and_junk_is_no_epoch(broker: Broker, redis: Redis) -> None:
    assert broker.epochs([QUEUE]) == {QUEUE: None}
    broker.set_epochs({QUEUE: 12})
    assert broker.epochs([QUEUE]) == {QUEUE: 12}
    redis.set(key_names.epoch(QUEUE), "junk")
    assert broker.epochs([QUEUE]) == {QUEUE: None}


# Trouble


def test_asking_for_room_changes_nothing(broker: Broker, redis: Redis) -> None:
    broker.require_room(QUEUE)
    assert redis.keys() == []
    broker.set_epochs({QUEUE: 7})
    broker.require_room(QUEUE)
    assert broker.epochs([QUEUE]) == {QUEUE: 7}


@pytest.mark.parametrize("kind", ["ready", "again", "bell"])
def test_a_key_of_the_wrong_type_is_an_unavailable_queue(broker: Broker, redis: Redis, kind: str) -> None:
    key = {"ready": key_names.ready(QUEUE, 4), "again": key_names.again(QUEUE, 4), "bell": key_names.bell(QUEUE)}[kind]
    redis.set(key, "a string")
    calls = {
        "ready": lambda: broker.push(QUEUE, 4, ["a"]),
        "again": lambda: broker.push_again(QUEUE, 4, [(1.0, "a")]),
        "bell": lambda: broker.wait([QUEUE], 1),
    }
    with pytest.raises(BrokerUnavailableError, match="WRONGTYPE"):
        calls[kind]()
    if kind != "bell":
        with pytest.raises(BrokerUnavailableError):
            take(broker)


def test_a_script_that_the_server_forgot_is_sent_again(broker: Broker, redis: Redis) -> None:
    broker.push(QUEUE, 4, ["a"])
    redis.script_flush()
    broker.push(QUEUE, 4, ["b"])
    assert take(broker) == ["a", "b"]


def test_odd_bytes_in_a_list_come_back_as_text(broker: Broker, redis: Redis) -> None:
    redis.lpush(key_names.ready(QUEUE, 4), b"\xff\x00junk")
    assert len(take(broker)) == 1
    assert isinstance(broker.inflight(TARGETS[0])[0], str)


def test_queues_do_not_see_each_other(broker: Broker) -> None:
    broker.push("a", 4, ["x"])
    assert take(broker) == []
    assert broker.depths(["a"]) == {"a": 1}
