"""A Redis client that never repeats a command by itself and never waits without an end.

redis-py retries by default; a repeated pop or push whose first answer was lost moves or adds ids
twice. So retries are off, every time-out is explicit, and each process makes its clients after fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskhub import failpoints
from taskhub.domain.errors import QueueUnavailableError


def connect(url: str, *, timeout_s: float) -> redis.Redis:
    """A client of the server at `url` whose every command ends within `timeout_s`."""
    tcp_only = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        url,
        **tcp_only,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
        max_connections=64,
    )


@contextmanager
def translated(client: redis.Redis, command: str) -> Iterator[None]:
    """Do `command`: turn every error of Redis into QueueUnavailableError, and leave the connection that had it.

    A demoted, loading, full or misconfigured server answers with an error on a healthy socket; it is
    as unavailable as one that is gone, and its socket must not be used again.
    """
    failpoints.hit("broker.", command)
    try:
        yield
    except (redis.RedisError, OSError, ValueError) as error:
        client.connection_pool.disconnect()
        raise QueueUnavailableError(f"Redis: {type(error).__name__}: {error}") from error
