"""Pushes of fresh ids that are written and not waited for: their answers are read before a later push.

Invariants:
- A push waits for the server only while its socket is full, and never longer than the time-out.
- What a push came to is told by a later one, or by `settle`: a BrokerUnavailableError, after which nothing is owed any
  more. The reconciler finds those jobs.
- What was written to a connection that broke, or to a server that has forgotten the script, is written again to the
  next connection: an id that is pushed twice is harmless.
"""

from __future__ import annotations

import select
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import redis

from taskhub import clock, failpoints
from taskhub.broker import key_names, redis_client
from taskhub.broker.scripts import script
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.masking import first_line

_MOST_OWED = 10_000  # ids; then it is waited for answers
_PIECE = 65_536
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Push(NamedTuple):
    """What one command pushes, and when it was written."""

    queue: str
    priority: int
    ids: list[str]
    at_s: float


class Pusher:
    """One process's pushes, from any of its threads, over a connection of their own."""

    def __init__(self, client: redis.Redis, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: Any = None
        self._socket: Any = None
        self._is_known = False  # the script, to the server
        self._received = b""
        self._owed: deque[_Push] = deque()  # written, and not answered yet

    def push(self, by_place: Mapping[tuple[str, int], list[str]]) -> None:
        """Write pushes of ids, oldest first. Raises BrokerUnavailableError, also for what earlier ones came to."""
        now_s = clock.monotonic_s()
        self._do("push", [_Push(*place, ids, now_s) for place, ids in by_place.items()])

    def settle(self) -> None:
        """Wait for what is owed. Raises BrokerUnavailableError."""
        self._do("settle", [])

    def close(self) -> None:
        """Leave the connection; the next push makes another."""
        with self._lock:
            self._leave()

    def _do(self, name: str, pushes: list[_Push]) -> None:
        failpoints.hit("broker.", name)
        if not self._lock.acquire(timeout=self._timeout_s):
            raise BrokerUnavailableError("Redis: the pushes of other threads take too long")
        try:
            self._write(pushes) if pushes else self._await_answers()
        except (redis.RedisError, OSError, ValueError) as error:
            self._give_up()
            raise BrokerUnavailableError(f"Redis: {type(error).__name__}: {first_line(error)}") from error
        except BaseException:
            self._give_up()  # an interrupt in mid-command
            raise
        finally:
            self._lock.release()

    def _write(self, pushes: list[_Push]) -> None:
        if self._socket is not None:
            self._read_answers()
        owed = self._owed
        if owed and (pushes[0].at_s - owed[0].at_s > self._timeout_s or _number_of(owed) > _MOST_OWED):
            self._await_answers()
        owed += pushes
        if self._socket is not None:
            try:
                self._send(self._commands(pushes))
            except ConnectionError:
                self._leave()
        if self._socket is None:
            self._connect()

    def _connect(self) -> None:
        """Make a connection, and write again what is owed; the script goes with the first command."""
        self._connection = redis_client.open_connection(self._client)
        self._socket = self._connection._sock  # the driver gives it to nobody, and it is ours alone
        self._socket.settimeout(0)
        self._is_known = False
        if self._owed:
            self._send(self._commands(self._owed))

    def _send(self, data: bytes) -> None:
        until_s = clock.monotonic_s() + self._timeout_s
        while True:
            try:
                data = data[self._socket.send(data) :]
            except _NOT_NOW:
                self._wait(select.POLLOUT, until_s)
            if not data:
                return

    def _await_answers(self) -> None:
        until_s = clock.monotonic_s() + self._timeout_s
        while self._owed:
            if self._socket is None:
                self._connect()
            self._wait(select.POLLIN, until_s)
            self._read_answers()

    def _wait(self, event: int, until_s: float) -> None:
        left_s = until_s - clock.monotonic_s()
        poller = select.poll()
        poller.register(self._socket.fileno(), event)
        if left_s <= 0 or not poller.poll(left_s * 1000):
            raise TimeoutError("no answer in time")

    def _read_answers(self) -> None:
        """Those that are there. A connection that has ended, or a script that is not known, leaves what is owed."""
        try:
            received = self._received + self._receive()
        except (ConnectionError, redis.ConnectionError):
            self._leave()
            return
        *answers, self._received = received.split(b"\r\n")
        for answer in answers:
            if answer.startswith(b"-NOSCRIPT"):
                self._leave()
                return
            if not self._owed or not answer.startswith(b":"):
                raise redis.ResponseError(answer[1:].decode("utf-8", "replace"))
            self._owed.popleft()

    def _receive(self) -> bytes:
        try:
            data: bytes = self._socket.recv(_PIECE)
        except _NOT_NOW:
            return b""
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def _commands(self, pushes: Iterable[_Push]) -> bytes:
        chosen, data = script("push"), b""
        for push in pushes:
            data += _command(b"EVALSHA", chosen.sha, push) if self._is_known else _command(b"EVAL", chosen.source, push)
            self._is_known = True
        return data

    def _give_up(self) -> None:
        self._leave()
        self._owed.clear()

    def _leave(self) -> None:
        connection, self._connection, self._socket, self._received = self._connection, None, None, b""
        if connection is not None:
            connection.disconnect()


def _number_of(pushes: Iterable[_Push]) -> int:
    return sum([len(push.ids) for push in pushes])


def _command(name: bytes, chosen: str, push: _Push) -> bytes:
    """A call of the script, as Redis reads it."""
    keys = (key_names.ready(push.queue, push.priority), key_names.bell(push.queue))
    items = [name, *map(str.encode, (chosen, "2", *keys, *push.ids))]
    return b"*%d\r\n" % len(items) + b"".join([b"$%d\r\n%b\r\n" % (len(item), item) for item in items])
