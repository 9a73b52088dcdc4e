"""The API's connections while no thread works on them: requests that are not whole, answers that are not taken.

Invariants:
- Nothing here waits for a client: sockets are read and written as far as they go at once.
- Each stage of a connection has its limit (STAGES); the connections that wait and the bytes of all are bounded, and
  what is oldest goes first.
- A connection is either here or with a thread, never both.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, UnsupportedTransferCoding
from gunicorn.http.message import Request

from taskhub import clock
from taskhub.api.framing import MAX_IGNORED_BYTES, Framing, Received, framing_of, is_head_over, wanted_bytes
from taskhub.api.request_body import RequestBody

_RECEIVE_BYTES = 65_536
_BYTES_PER_S = 131_072  # a body may come as slowly, after its first seconds
_DISCARDED_BYTES = 32 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Stage(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    UNREAD = "the rest of a body that nobody reads, after its answer"
    ANSWER = "the client to take its answer"
    END = "the client to close"


STAGES = {Stage.HEAD: 5.0, Stage.BODY: 10.0, Stage.UNREAD: 5.0, Stage.ANSWER: 10.0, Stage.END: 2.0}
_UNANSWERED = (Stage.IDLE, Stage.HEAD, Stage.BODY, Stage.UNREAD)


class OutgoingAnswer:
    """What gunicorn takes for a client's socket: an answer is collected, and sent as far as the client takes it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.data = bytearray()
        self.fileno = link.fileno
        self.recv = link.recv  # to see whether the client is still there

    def sendall(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> bool:
        """True if all is sent. Raises OSError."""
        while self.data:
            try:
                sent = self._link.send(self.data)
            except BlockingIOError:
                return False
            del self.data[:sent]
        return True


class ClientConnection:
    """One client. gunicorn reads `sock`, `client` and `server`."""

    def __init__(self, link: socket.socket, client: Any, server: Any) -> None:
        link.setblocking(False)
        self.link = link
        self.sock = OutgoingAnswer(link)
        self.client = client
        self.server = server
        self.received = Received()
        self.request: Any = None
        self.stage = Stage.HEAD
        self.since_s = clock.monotonic_s()
        self.held_bytes = 0  # of the process's budget
        self.discarded_bytes = 0
        self._framing: Framing | None = None
        self._requests = 0

    def begin(self, stage: Stage) -> None:
        self.stage = stage
        self.since_s = clock.monotonic_s()

    def receive(self) -> bool:
        """Take what has come; False: nothing will come any more."""
        try:
            data = self.link.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.received.data += data
        if self.stage is Stage.IDLE and data:
            self.begin(Stage.HEAD)
        return bool(data)

    def discard(self) -> bool:
        """Take what has come for nothing; False: nothing more will come, or shall."""
        is_open = self.receive()
        self.discarded_bytes += len(self.received.data)
        self.received.data.clear()
        return is_open and self.discarded_bytes <= _DISCARDED_BYTES

    def is_ready(self, cfg: Any, limits: Mapping[bytes, int]) -> bool:
        """True if a thread can answer without waiting for more. Raises what gunicorn's parser does."""
        data = self.received.data
        if self._framing is not None:
            return self._framing.is_over(data)
        if not data or not is_head_over(data):
            return False
        self._requests += 1
        try:
            self.request = Request(cfg, self.received, self.client, self._requests)
        except NoMoreData:
            raise LimitRequestHeaders("the head is too large") from None
        _tighten(self.request)
        self.request.body = RequestBody(self.request)
        return self._is_body_ready(wanted_bytes(self.request, limits))

    def _is_body_ready(self, wanted: int) -> bool:
        request, data = self.request, self.received.data
        self._framing = framing_of(request, wanted or MAX_IGNORED_BYTES)
        is_expected, request._expected_100_continue = request._expected_100_continue, False
        if self._framing.is_over(data):
            return True
        if not wanted:
            if is_expected or getattr(request.body.reader, "length", 0) > MAX_IGNORED_BYTES:
                request.force_close()
            return True
        self.begin(Stage.BODY)
        if is_expected and not data:
            self.link.send(_CONTINUE)
        return False

    def has_passed_body(self) -> bool:
        """True if the next request begins with what was received; False: the rest of a body has to come before."""
        if self.request is not None and not self.request.body.is_read:
            assert self._framing is not None
            if not self._framing.is_over(self.received.data):
                return False
            while self.request.body.read(_RECEIVE_BYTES):
                pass
        self.request = self._framing = None
        return True

    def limit_s(self, idle_s: float) -> float:
        """Until when the present stage may last."""
        more_s = len(self.received.data) / _BYTES_PER_S if self.stage is Stage.BODY else 0.0
        return self.since_s + STAGES.get(self.stage, idle_s) + more_s


def _tighten(request: Any) -> None:
    """What gunicorn takes too loosely: it echoes any version, and misses `close` in a list.

    Raises UnsupportedTransferCoding.
    """
    request.version = min(request.version, (1, 1))
    for name, value in request.headers:
        if name == "CONNECTION" and "close" in (option.strip(" \t") for option in value.lower().split(",")):
            request.force_close()
        if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            request.force_close()
            raise UnsupportedTransferCoding(value)


class WatchedConnections:
    """All connections that wait for their clients, oldest first, in one poller."""

    def __init__(self, poller: selectors.BaseSelector, most: int, most_bytes: int, idle_s: float) -> None:
        self._poller = poller
        self._most = most
        self._most_bytes = most_bytes
        self._idle_s = idle_s
        self._connections: dict[ClientConnection, None] = {}
        self._bytes = 0
        self.ends_s = float("inf")  # when whoever has not sent a whole request is let go

    def __contains__(self, connection: ClientConnection) -> bool:
        return connection in self._connections

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: ClientConnection, events: int, callback: Callable[[ClientConnection], None]) -> None:
        """Raises OSError, ValueError, KeyError if its socket cannot be watched."""

        def call(_socket: Any) -> None:
            if connection in self._connections:  # not, if it was ended in the same turn
                callback(connection)

        self._poller.register(connection.link, events, call)
        self._connections[connection] = None

    def remove(self, connection: ClientConnection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._poller.unregister(connection.link)

    def charge(self, connection: ClientConnection, held_bytes: int) -> None:
        """Set what of the budget it takes."""
        self._bytes += held_bytes - connection.held_bytes
        connection.held_bytes = held_bytes

    def overdue(self) -> Iterator[ClientConnection]:
        """Those whose stage has lasted too long."""
        now_s = clock.monotonic_s()
        for connection in list(self._connections):
            limit_s = connection.limit_s(self._idle_s)
            if now_s >= (min(limit_s, self.ends_s) if connection.stage in _UNANSWERED else limit_s):
                yield connection

    def surplus(self) -> ClientConnection | None:
        """The one to end if there are too many connections, or too many bytes."""
        if self._bytes > self._most_bytes:
            return next((each for each in self._connections if each.held_bytes), None)
        return self.oldest() if len(self._connections) > self._most else None

    def oldest(self) -> ClientConnection | None:
        """The oldest that is not idle, else the oldest."""
        active = (each for each in self._connections if each.stage is not Stage.IDLE)
        return next(active, None) or next(iter(self._connections), None)
