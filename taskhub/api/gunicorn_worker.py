"""gunicorn's threaded worker, so that every answer is the API's own and none waits for a client.

- What gunicorn itself refuses (bad syntax, too long, an unknown coding) is answered as the contract's problem document.
- `100 Continue` is sent when a body is first read: never for one that is refused by its headers.
- A connection is not kept when its request's body was not read to the end; closing it waits for nobody.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.http.body import Body, LengthReader
from gunicorn.workers.gthread import ThreadWorker

from taskhub import ids
from taskhub.api.problems import problem_bytes
from taskhub.logs import get_logger

log = get_logger(__name__)

_DRAIN_S = 0.05
_LINGER_S = 2.0
_LINGER_BYTES = 32 << 20
_CODES = {
    http_errors.LimitRequestLine: (414, "bad_request", "the request line is too long"),
    http_errors.LimitRequestHeaders: (431, "bad_request", "the header fields are too large or too many"),
    http_errors.ExpectationFailed: (417, "bad_request", "this expectation cannot be met"),
    http_errors.UnsupportedTransferCoding: (501, "bad_request", "only the transfer coding chunked is known"),
}


class ApiWorker(ThreadWorker):  # type: ignore[misc]
    """One process of the API."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lingering: dict[Any, float] = {}  # sockets whose answer is sent, until when, in order

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never became a request of the application."""
        name = ids.new_token()
        if isinstance(
            exc, (http_errors.ParseException, http_errors.ExpectationFailed, http_errors.ConfigurationProblem)
        ):
            status, code, detail = next(
                (found for kind, found in _CODES.items() if isinstance(exc, kind)),
                (400, "bad_request", f"the request is not well formed: {type(exc).__name__}"),
            )
            log.info("request.malformed", extra={"request_id": name, "status": status, "text": type(exc).__name__})
        else:
            status, code, detail = 500, "internal", "an error on our side; its request_id is in the log"
            log.error("request.failed", exc_info=exc, extra={"request_id": name})
        body = problem_bytes(status, HTTPStatus(status).phrase, code, detail, name)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nX-Request-Id: {name}\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        is_head = getattr(req, "method", None) == "HEAD"
        with contextlib.suppress(OSError):
            client.sendall(head.encode("latin-1") + (b"" if is_head else body))

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """What a refused request still sends is taken as far as it has come: no thread waits for the rest."""
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_S))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """As gunicorn does, but the loop does not stand still for clients that do not close."""
        conn.close = partial(self._close, conn, conn.close)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Called at each turn of the loop."""
        super().murder_pending()
        now_s = time.monotonic()
        while self._lingering and next(iter(self._lingering.values())) <= now_s:
            self._end(next(iter(self._lingering)))

    def _close(self, conn: Any, close: Any, graceful: bool = False) -> None:
        if not graceful:
            close()
            return
        sock = conn.sock
        try:
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            self._lingering[sock] = time.monotonic() + _LINGER_S
            self.poller.register(sock, selectors.EVENT_READ, partial(self._discard, [_LINGER_BYTES]))
        except (OSError, ValueError, KeyError):
            self._end(sock)

    def _discard(self, left: list[int], sock: Any) -> None:
        """What a client still sends is taken, to a bound: else it would not see the answer."""
        try:
            data = sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        left[0] -= len(data)
        if not data or left[0] < 0:
            self._end(sock)

    def _end(self, sock: Any) -> None:
        self._lingering.pop(sock, None)
        with contextlib.suppress(OSError, ValueError, KeyError):
            self.poller.unregister(sock)
        sock.close()


class _Body(Body):  # type: ignore[misc]
    """A request's body. If its client waits for `100 Continue`, it is told when the body is first read."""

    def __init__(self, request: Any) -> None:
        super().__init__(request.body.reader)
        self.request = request
        self._is_awaited = request._expected_100_continue
        if self._is_awaited:
            request._expected_100_continue = False
            request.force_close()

    @property
    def is_read(self) -> bool:
        """True if all of it was read: where the next request begins is known."""
        left = self.reader.length if isinstance(self.reader, LengthReader) else self.reader.parser
        return not left and not self.failed

    def _read_reader(self, size: int) -> bytes:
        if self._is_awaited:
            self._is_awaited = False
            self.request.must_close = False
            self.request.unreader.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return bytes(super()._read_reader(size))


def prepare(request: Any) -> None:
    """Before gunicorn makes the environment of a request. Raises UnsupportedTransferCoding."""
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            request.force_close()
            raise http_errors.UnsupportedTransferCoding(value)
    request.body = _Body(request)
