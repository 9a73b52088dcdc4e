"""A Redis client that never repeats a command by itself and never waits without an end.

redis-py retries by default; a repeated pop or push whose first answer was lost moves or adds ids
twice. So retries are off, every time-out is explicit, and each process makes its clients after fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.retry import Retry

from taskhub import addresses, failpoints
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.masking import first_line
from taskhub.resolver import resolve

try:
    from redis.driver_info import DriverInfo
except ImportError:  # an older redis-py: it reads its own version once, at import, and not with each connection
    _DRIVER: dict[str, Any] = {}
else:
    _DRIVER = {"driver_info": DriverInfo()}

_DEFAULT_HOST, _DEFAULT_PORT = "localhost", 6379


class _Named(Connection):
    """The driver's connection, but its server's name is looked up within the time for connecting."""

    def _connect(self) -> Any:
        name, refusal = self.host, OSError(f"no address is found for {self.host}")
        try:
            for address in resolve(name, float(self.socket_connect_timeout or 0)):
                self.host = address
                try:
                    return super()._connect()  # type: ignore[no-untyped-call]
                except OSError as error:
                    refusal = error
        finally:
            self.host = name
        raise refusal


class _NamedAndSecret(SSLConnection, _Named):  # TLS checks the name: its part begins once the other's has ended
    """The same with TLS."""


def connect(url: str, *, timeout_s: float) -> redis.Redis:
    """A client of the server at `url` whose every command ends within `timeout_s`.

    The URL is read by our own grammar alone: the driver's would let its parameters replace what is set here.
    """
    pool = redis.ConnectionPool(
        **_place(addresses.parse(url, addresses.REDIS)),
        **_DRIVER,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
        max_connections=64,
    )
    return redis.Redis.from_pool(pool)


def open_connection(client: redis.Redis) -> Any:
    """A connection of its own, made and logged in as the client's are. Raises as the driver does."""
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    connection.connect()
    return connection


def _place(address: addresses.Address) -> dict[str, Any]:
    """Where the server is and how to log in, as the driver's connections take it."""
    options: dict[str, Any] = dict(address.parameters)
    place: dict[str, Any] = {
        "username": address.user or options.pop("username", None),
        "password": address.password or options.pop("password", None),
        "db": address.database_number,
    }
    options.pop("db", None)
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"] == "true"
    if address.scheme == "unix":
        return {**options, **place, "path": address.path, "connection_class": redis.UnixDomainSocketConnection}
    host, port = address.hosts[0]
    place |= {"host": host or _DEFAULT_HOST, "port": port or _DEFAULT_PORT, "socket_keepalive": True}
    place["connection_class"] = _NamedAndSecret if address.scheme == "rediss" else _Named
    return {**options, **place}


@contextmanager
def translated(client: redis.Redis, command: str) -> Iterator[None]:
    """Do `command`: turn every error of Redis into BrokerUnavailableError, and leave the connection that had it.

    A demoted, loading, full or misconfigured server answers with an error on a healthy socket; it is
    as unavailable as one that is gone, and its socket must not be used again. Those that other threads
    use at the moment are theirs.
    """
    failpoints.hit("broker.", command)
    try:
        yield
    except (redis.RedisError, OSError, ValueError) as error:
        client.connection_pool.disconnect(inuse_connections=False)
        raise BrokerUnavailableError(f"Redis: {type(error).__name__}: {first_line(error)}") from error
