"""The two servers that the queue's contract is held against: the fake of the unit tests and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis as redis_client

from taskhub.broker.broker import Broker
from tests.harness.servers import Redis


@pytest.fixture(params=["fakeredis", "redis"])
def redis(request: pytest.FixtureRequest) -> Iterator[redis_client.Redis]:
    """A plain client of an empty server, fake or real."""
    if request.param == "fakeredis":
        yield fakeredis.FakeRedis(version=(6, 2))
        return
    server: Redis = request.getfixturevalue("redis_server")
    with server.client() as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def broker(redis: redis_client.Redis) -> Broker:
    """taskhub's broker on that server."""
    return Broker("unused", timeout_s=5, connection=redis)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A server that the test may harm."""
    server = Redis()
    server.start()
    yield server
    server.remove()
