"""gunicorn's threaded worker, so that no thread waits for a client and every answer is the API's own.

- A connection gets a thread when its request is here (`connections.py`); until then, and while its client does not
  take the answer, the loop serves it.
- What gunicorn itself refuses (bad syntax, too long, an unknown coding) is answered as the contract's problem document.
- A connection is not kept when its request's body was not read to the end; closing it waits for nobody.
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Any

from taskhub import clock, ids
from taskhub.api.connections import ClientConnection, Stage, WatchedConnections
from taskhub.api.problem_document import refusal_bytes
from taskhub.api.refusals import REFUSALS, told
from taskhub.api.respawn import RespawnedWorker
from taskhub.logs import get_logger

log = get_logger(__name__)

_BUDGET_BYTES = 64 << 20
_LOOK_S = 0.25  # how often limits are looked at
_NO_DESCRIPTOR_S = 0.01
_FROM_MEMORY = "/livez"  # the loop answers it, so that it needs no thread


class ApiWorker(RespawnedWorker):
    """One process of the API."""

    waiting: WatchedConnections
    _limits: Mapping[bytes, int]
    _looked_s = 0.0

    def run(self) -> None:
        from taskhub.api.app import context_of  # only after the fork: they import the metrics
        from taskhub.api.resources.submit import body_limits

        settings = context_of(self.wsgi).settings
        self._limits = body_limits(settings)
        most = max(8, self.max_keepalived * 3 // 4)
        most_bytes = max(_BUDGET_BYTES, 2 * settings.max_bulk_bytes)
        self.waiting = WatchedConnections(self.poller, most, most_bytes, self.cfg.keepalive)
        super().run()

    def accept(self, listener: Any) -> None:
        try:
            link, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._make_room()
            return
        self.nr_conns += 1
        connection = ClientConnection(link, client, listener.getsockname())
        self._guarded(connection, self._await_request)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, _LOOK_S) if len(self.waiting) else timeout)
        if clock.monotonic_s() - self._looked_s >= _LOOK_S:
            self._looked_s = clock.monotonic_s()
            for connection in self.waiting.overdue():
                self._guarded(connection, self._end_overdue)

    def handle(self, conn: ClientConnection) -> bool:
        """Answer a request. In a thread; returns whether the connection is kept."""
        try:
            is_kept = bool(self.handle_request(conn.request, conn))
        except Exception as error:  # noqa: BLE001 (whatever it is, the client is told)
            conn.sock.data.clear()
            self.handle_error(conn.request, conn.sock, conn.client, error)
            is_kept = False
        try:
            conn.sock.flush()
        except OSError:
            conn.sock.data.clear()
            return False
        return is_kept

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never became a request of the application."""
        name = ids.new_token()
        if isinstance(exc, REFUSALS):
            (status, detail), code = told(exc), "bad_request"
            log.info("request.malformed", extra={"request_id": name, "status": status, "text": type(exc).__name__})
        else:
            status, code, detail = 500, "internal", "an error on our side; its request_id is in the log"
            log.error("request.failed", exc_info=exc, extra={"request_id": name, "text": "an error on our side"})
        client.sendall(refusal_bytes(status, code, detail, name, has_body=getattr(req, "method", None) != "HEAD"))

    def finish_request(self, conn: ClientConnection, fs: Any) -> None:
        """In the loop, when a thread is done with a connection."""
        self._go_on(conn, not fs.cancelled() and fs.exception() is None and fs.result())

    def _go_on(self, connection: ClientConnection, is_kept: bool) -> None:
        self._guarded(connection, self._keep_answering if is_kept else self._finish_answering)

    def _cap_keepalive(self, deadline: float) -> None:
        self.waiting.ends_s = deadline

    def _guarded(self, connection: ClientConnection, step: Callable[[ClientConnection], None]) -> None:
        """Whatever happens to one connection ends that one alone."""
        try:
            step(connection)
        except OSError:
            self._close(connection)
        except Exception:
            log.exception("connection.failed", extra={"text": "one connection is closed by an error on our side"})
            self._close(connection)

    def _watch(self, connection: ClientConnection, events: int, step: Callable[[ClientConnection], None]) -> None:
        self.waiting.add(connection, events, lambda each: self._guarded(each, step))
        self._charge(connection)

    def _charge(self, connection: ClientConnection) -> None:
        """Account for what it holds; what is too much goes."""
        self.waiting.charge(connection, len(connection.received.data) + len(connection.sock.data))
        while (surplus := self.waiting.surplus()) is not None:
            self._guarded(surplus, self._drop)

    def _await_request(self, connection: ClientConnection) -> None:
        self._watch(connection, selectors.EVENT_READ, self._receive)
        if connection in self.waiting:
            self._receive(connection)

    def _receive(self, connection: ClientConnection) -> None:
        is_open = connection.receive()
        if not is_open and connection.stage is not Stage.BODY:
            self._close(connection)
            return
        self._charge(connection)
        if connection not in self.waiting:
            return
        if not is_open:
            self._hand_over(connection)  # to be refused for what is missing
        elif connection.stage is Stage.UNREAD:
            self._keep(connection)
        else:
            self._advance(connection)

    def _advance(self, connection: ClientConnection) -> None:
        """Begin a request as far as what was received allows."""
        try:
            if connection.is_ready(self.cfg, self._limits):
                self._hand_over(connection)
        except REFUSALS as error:
            self.handle_error(connection.request, connection.sock, connection.client, error)
            self._finish_answering(connection)

    def _hand_over(self, connection: ClientConnection) -> None:
        self.waiting.remove(connection)
        connection.request.body.whole_s = clock.monotonic_s()
        if connection.request.path == _FROM_MEMORY:
            # In a turn of its own goes what follows: such requests may come in a long row.
            self.method_queue.defer(self._go_on, connection, self.handle(connection))
        else:
            self.enqueue_req(connection)

    def _keep(self, connection: ClientConnection) -> None:
        """After an answer: what the client still sends of this request is passed, and its next is awaited."""
        if connection.has_passed_body():
            connection.begin(Stage.HEAD if connection.received.data else Stage.IDLE)
        elif connection.stage is not Stage.UNREAD:
            connection.begin(Stage.UNREAD)
        if connection not in self.waiting:
            self._watch(connection, selectors.EVENT_READ, self._receive)
        if connection.stage is Stage.HEAD and connection in self.waiting:
            self._advance(connection)

    def _keep_answering(self, connection: ClientConnection) -> None:
        if self._is_answer_sent(connection, self._keep_answering):
            self._keep(connection)

    def _finish_answering(self, connection: ClientConnection) -> None:
        if self._is_answer_sent(connection, self._finish_answering):
            self._linger(connection)

    def _is_answer_sent(self, connection: ClientConnection, step: Callable[[ClientConnection], None]) -> bool:
        """False: the loop goes on with `step` when the client takes more."""
        left = len(connection.sock.data)
        is_sent = connection.sock.flush()
        if is_sent or connection.stage is not Stage.ANSWER:
            self.waiting.remove(connection)
        if is_sent:
            return True
        if connection.stage is not Stage.ANSWER or len(connection.sock.data) < left:
            connection.begin(Stage.ANSWER)
        if connection not in self.waiting:
            self._watch(connection, selectors.EVENT_WRITE, step)
        return False

    def _linger(self, connection: ClientConnection) -> None:
        """What the client still sends is taken, to a bound: closing at once could cost it the answer."""
        connection.link.shutdown(socket.SHUT_WR)
        connection.received.data.clear()
        connection.begin(Stage.END)
        self._watch(connection, selectors.EVENT_READ, self._discard)

    def _discard(self, connection: ClientConnection) -> None:
        if not connection.discard():
            self._close(connection)

    def _end_overdue(self, connection: ClientConnection) -> None:
        if self._is_told(connection, 408, "bad_request", "the request did not come in time"):
            self._finish_answering(connection)
        else:
            self._close(connection)

    def _drop(self, connection: ClientConnection) -> None:
        if self._is_told(connection, 503, "unavailable", "too many requests are unfinished; try again"):
            connection.sock.flush()
        self._close(connection)

    def _is_told(self, connection: ClientConnection, status: int, code: str, detail: str) -> bool:
        """Only a client with an unfinished request is told why its connection ends."""
        if connection.stage not in (Stage.HEAD, Stage.BODY) or not (connection.received.data or connection.request):
            return False
        name = ids.new_token()
        log.info("request.unfinished", extra={"request_id": name, "status": status, "text": connection.stage.value})
        connection.sock.sendall(refusal_bytes(status, code, detail, name))
        return True

    def _make_room(self) -> None:
        """There is no descriptor for another connection."""
        oldest = self.waiting.oldest()
        if oldest is None:
            clock.sleep(_NO_DESCRIPTOR_S)
        else:
            self._guarded(oldest, self._drop)

    def _close(self, connection: ClientConnection) -> None:
        self.waiting.remove(connection)
        self.waiting.charge(connection, 0)
        connection.received.data.clear()  # gunicorn's request and its body know each other: they go when Python looks
        connection.sock.data.clear()
        connection.link.close()
        self.nr_conns -= 1
