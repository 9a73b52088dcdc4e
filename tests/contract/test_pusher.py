"""Pushes that are written and not waited for: they arrive, and what they came to is told by a later one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.broker.pusher import Pusher
from taskhub.domain.errors import BrokerUnavailableError
from tests.harness.processes import is_stopped
from tests.harness.proxy import Proxy
from tests.harness.servers import Redis
from tests.waiting import pause, stretched, wait_until

WITHIN_S = 0.3
PLACE = ("default", 4)


@pytest.fixture
def pusher(own_redis: Redis) -> Iterator[Pusher]:
    broker = Broker(own_redis.url, timeout_s=WITHIN_S)
    made = broker.pusher()
    yield made
    made.close()
    broker.close()


def freeze(server: Redis) -> None:
    """A signal takes effect a moment later."""
    server.signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(server.pid), 5, "the server stands still")


def pushed(server: Redis, queue: str = "default", priority: int = 4) -> list[str]:
    """The ids that are there, the one that is taken next first."""
    with server.client() as client:
        return [item.decode() for item in client.lrange(key_names.ready(queue, priority), 0, -1)][::-1]


def test_ids_arrive_in_their_order_at_each_place_and_ring(own_redis: Redis, pusher: Pusher) -> None:
    pusher.push({PLACE: ["a", "b"], ("other", 9): ["c"]})
    pusher.push({PLACE: ["d"]})
    pusher.settle()
    assert pushed(own_redis) == ["a", "b", "d"]
    assert pushed(own_redis, "other", 9) == ["c"]
    with own_redis.client() as client:
        assert [client.llen(key_names.bell(queue)) for queue in ("default", "other")] == [3, 1]


def test_what_was_lost_with_a_connection_is_pushed_over_the_next(own_redis: Redis) -> None:
    with Proxy(str(own_redis.folder / "redis.sock")) as network:
        pusher = Broker(f"redis://127.0.0.1:{network.port}/0", timeout_s=5).pusher()
        pusher.push({PLACE: ["a"]})
        pusher.settle()
        lost = network.lose_request(b"lost")
        pusher.push({PLACE: ["lost"]})
        wait_until(lambda: lost.happened, 5, "the connection is lost")
        pusher.push({PLACE: ["c"]})
        pusher.settle()
        pusher.close()
    assert pushed(own_redis) == ["a", "lost", "c"]


def test_a_server_that_was_restarted_is_pushed_to_at_once(own_redis: Redis, pusher: Pusher) -> None:
    pusher.push({PLACE: ["a"]})
    own_redis.kill()
    own_redis.start()
    pusher.push({PLACE: ["b"]})
    pusher.settle()
    assert pushed(own_redis)[-1] == "b"


def test_a_server_that_has_forgotten_the_script_is_told_it_again(own_redis: Redis, pusher: Pusher) -> None:
    pusher.push({PLACE: ["a"]})
    pusher.settle()
    with own_redis.client() as client:
        client.script_flush()
    pusher.push({PLACE: ["b"]})
    pusher.settle()
    assert pushed(own_redis) == ["a", "b"]


def test_a_refusal_is_told_by_the_next_push_and_forgotten(own_redis: Redis, pusher: Pusher) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory", 1)
        pusher.push({PLACE: ["a"]})
        pusher_answered(own_redis)
        with pytest.raises(BrokerUnavailableError, match="memory"):
            pusher.push({PLACE: ["b"]})
        client.config_set("maxmemory", 0)
    pusher.push({PLACE: ["c"]})
    pusher.settle()
    assert pushed(own_redis) == ["c"]


def pusher_answered(server: Redis) -> None:
    """One thread answers all: what was sent before this is answered before it."""
    with server.client() as client:
        client.ping()


def test_a_frozen_server_holds_up_one_push_for_the_time_out(own_redis: Redis, pusher: Pusher) -> None:
    pusher.push({PLACE: ["a"]})
    pusher.settle()
    freeze(own_redis)
    try:
        began = time.monotonic()
        pusher.push({PLACE: ["b"]})
        assert time.monotonic() - began < stretched(WITHIN_S), "nobody waits for it"
        pause(WITHIN_S + 0.1)
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match="in time"):
            pusher.push({PLACE: ["c"]})
        assert time.monotonic() - began < stretched(2 * WITHIN_S)
    finally:
        own_redis.signal(signal.SIGCONT)
    pusher.push({PLACE: ["d"]})
    pusher.settle()
    assert pushed(own_redis)[-1] == "d"


def test_more_than_a_socket_holds_arrives(own_redis: Redis, pusher: Pusher) -> None:
    for number in range(60):
        pusher.push({PLACE: [f"{number:05d}-{each:030d}" for each in range(1_000)]})
    pusher.settle()
    with own_redis.client() as client:
        assert client.llen(key_names.ready(*PLACE)) == 60_000


def test_threads_share_it(own_redis: Redis, pusher: Pusher) -> None:
    def push_some(thread: int) -> None:
        for number in range(100):
            pusher.push({PLACE: [f"{thread}-{number}"]})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(push_some, range(8)))
    pusher.settle()
    assert sorted(pushed(own_redis)) == sorted(f"{thread}-{number}" for thread in range(8) for number in range(100))
