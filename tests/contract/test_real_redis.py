"""What only a real server can show: full, read-only, gone, frozen."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError
from tests.harness.background import Background
from tests.harness.servers import Redis
from tests.waiting import stretched

TARGET = key_names.inflight("default", "worker", 0, 1, 0)


@pytest.fixture
def own_broker(own_redis: Redis) -> Iterator[Broker]:
    made = Broker(own_redis.url, timeout_s=0.3)
    yield made
    made.close()


def fill(server: Redis) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1)


def test_a_full_redis_refuses_pushes_and_still_lets_jobs_be_taken(own_redis: Redis, own_broker: Broker) -> None:
    own_broker.push("default", 4, ["a", "b"])
    own_broker.take("default", "none", TARGET + "x", 1, 1)
    fill(own_redis)
    with pytest.raises(BrokerUnavailableError, match="memory"):
        own_broker.push("default", 4, ["c"])
    with pytest.raises(BrokerUnavailableError, match="memory"):
        own_broker.push_again("default", 4, [(1.0, "c")])
    with pytest.raises(BrokerUnavailableError, match="memory"):
        own_broker.require_room("default")
    assert own_broker.take("default", TARGET + "x", TARGET, 10, 1) == ["b"]


def test_a_read_only_redis_is_unavailable(own_redis: Redis, own_broker: Broker) -> None:
    with own_redis.client() as client:
        client.replicaof("127.0.0.1", 1)
    for call in (
        lambda: own_broker.push("default", 4, ["a"]),
        lambda: own_broker.take("default", "none", TARGET, 1, 1),
        lambda: own_broker.require_room("default"),
    ):
        with pytest.raises(BrokerUnavailableError):
            call()
    with own_redis.client() as client:
        client.replicaof("NO", "ONE")
    own_broker.push("default", 4, ["a"])
    assert own_broker.take("default", "none", TARGET, 1, 1) == ["a"]


def test_a_redis_that_is_gone_is_unavailable_and_found_again(own_redis: Redis, own_broker: Broker) -> None:
    own_broker.push("default", 4, ["a"])
    own_redis.kill()
    with pytest.raises(BrokerUnavailableError):
        own_broker.push("default", 4, ["b"])
    own_redis.start()
    own_broker.push("default", 4, ["c"])
    assert own_broker.depths(["default"]) == {"default": 1}


def test_no_call_outlasts_its_time_out_while_the_server_is_frozen(own_redis: Redis, own_broker: Broker) -> None:
    own_broker.ping()
    own_redis.signal(signal.SIGSTOP)
    for call in (own_broker.ping, lambda: own_broker.push("default", 4, ["a"]), lambda: own_broker.depths(["default"])):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError):
            call()
        assert time.monotonic() - began < stretched(1)
    own_redis.signal(signal.SIGCONT)
    own_broker.ping()


def test_a_frozen_push_that_was_carried_out_after_all_is_not_repeated_by_itself(
    own_redis: Redis, own_broker: Broker
) -> None:
    own_broker.push("default", 4, ["first"])
    own_redis.signal(signal.SIGSTOP)
    with pytest.raises(BrokerUnavailableError):
        own_broker.push("default", 4, ["a"])
    own_redis.signal(signal.SIGCONT)
    assert own_broker.depths(["default"])["default"] in (1, 2)


def test_a_wait_is_woken_by_a_push(own_redis: Redis, own_broker: Broker) -> None:
    waiting = Background(Broker(own_redis.url, timeout_s=5).wait, ["default"], 4)
    own_broker.push("default", 4, ["a"])
    assert waiting.result() == "default"
