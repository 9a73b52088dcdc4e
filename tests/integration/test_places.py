"""Several hosts, silent ones, names: each has its share of the time, and none holds up the next."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskhub import resolver
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError, StoreUnavailableError
from taskhub.store import session
from taskhub.store.connection import Connection
from taskhub.store.places import Place, places
from tests.harness.programs import free_port
from tests.harness.proxy import Proxy
from tests.harness.servers import Postgres, Redis, started
from tests.waiting import stretched, wait_until


@pytest.fixture(scope="module")
def network() -> Iterator[Postgres]:
    """A PostgreSQL that is reached over TCP."""
    with started(Postgres(free_port())) as server:
        yield server


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def port_of(server: Postgres) -> int:
    return int(server.network_url("x").rpartition(":")[2].partition("/")[0])


def found(url: str) -> list[Place]:
    return [place for place, _ in places(url, time.monotonic() + 5)]


@pytest.mark.slow
def test_a_silent_first_host_does_not_keep_the_second_from_being_tried(network: Postgres, silent: int) -> None:
    url = f"postgresql://postgres@127.0.0.1:{silent},127.0.0.1:{port_of(network)}/postgres"
    began = time.monotonic()
    connection = Connection(url, connect_s=2)
    assert connection.execute("SELECT 1") == [(1,)]
    assert 0.5 < time.monotonic() - began < stretched(1.9)
    connection.close()
    raw = session.open_ordinary(url, application="test", connect_s=4, settings={})
    assert raw.info.port == port_of(network)
    raw.close()


def test_a_name_without_an_address_does_not_keep_the_next_host_from_being_tried(network: Postgres) -> None:
    url = f"postgresql://postgres@no-such.invalid:1,127.0.0.1:{port_of(network)}/postgres"
    connection = Connection(url, connect_s=4)
    assert connection.execute("SELECT 1") == [(1,)]
    connection.close()


def test_silent_hosts_cost_no_more_than_the_time_for_connecting(silent: int) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="in time"):
        Connection(f"postgresql://u@127.0.0.1:{silent},127.0.0.1:{silent}/x", connect_s=0.6).execute("SELECT 1")
    assert time.monotonic() - began < stretched(1.5)


def test_a_name_that_is_looked_up_for_ever_costs_no_more_either(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    calls: list[str] = []

    def hanging(name: str, *_: Any, **__: Any) -> list[Any]:
        calls.append(name)
        answered.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=r"db\.example was not found in time"):
            Connection("postgresql://u@db.example/x", connect_s=0.4).execute("SELECT 1")
    assert time.monotonic() - began < stretched(1.5)
    assert calls == ["db.example"]  # one thread waits, however often it is asked for
    answered.set()


def test_a_name_of_redis_that_is_looked_up_for_ever_is_an_absent_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(30) and [])
    try:
        for scheme in ("redis", "rediss"):
            broker = Broker(f"{scheme}://redis.example:1/0", timeout_s=0.3)
            with pytest.raises(BrokerUnavailableError, match="Timeout"):
                broker.ping()
            broker.close()
            assert list(resolver._under_way) == ["redis.example"]
    finally:
        answered.set()
    wait_until(lambda: not resolver._under_way, 10, "the look-up has ended")


def test_redis_is_found_by_its_name_and_asked_for_by_it(redis_server: Redis) -> None:
    with Proxy(str(redis_server.folder / "redis.sock")) as network:
        broker = Broker(f"redis://localhost:{network.port}/0", timeout_s=5)
        broker.ping()
        [connection] = broker._redis.connection_pool._available_connections
        assert connection.host == "localhost"  # as TLS is to check it
        broker.close()


def test_a_name_keeps_its_place_beside_its_address_for_tls() -> None:
    assert set(found("postgresql://u@localhost:5/x")) <= {
        Place("localhost", "127.0.0.1", "5"),
        Place("localhost", "::1", "5"),
    }
    assert found("postgresql://u@localhost:5/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@/x", [Place()]),
        ("postgresql://u@/x?service=s", [Place()]),
        ("postgresql://u@/x?host=/run&port=7", [Place("/run", "", "7")]),
        ("postgresql://u@%2Frun/x", [Place("/run", "")]),
        ("postgresql://u@/x?host=%40abstract", [Place("@abstract", "")]),
        ("postgresql://u@[::1]:1,10.0.0.1/x", [Place("::1", "::1", "1"), Place("10.0.0.1", "10.0.0.1")]),
        ("postgresql://u@[fe80::1%25lo]/x", [Place("fe80::1%lo", "fe80::1%lo")]),
        ("postgresql://u@a,b/x?hostaddr=::1,::2&port=3", [Place("a", "::1", "3"), Place("b", "::2", "3")]),
        ("postgresql://u@/x?hostaddr=127.0.0.1", [Place(None, "127.0.0.1")]),
    ],
)
def test_places_are_those_that_the_url_names(url: str, expected: list[Place]) -> None:
    assert found(url) == expected


def test_an_old_look_up_is_not_an_answer() -> None:
    assert resolver.resolve("localhost", 5)
    assert resolver._under_way == {}
