"""How many requests of a process are at work at once, however many threads it has.

Invariants:
- Whoever stands aside, because it waits for a job or for somebody's transaction, leaves its place to others.
- Turns come in the order of asking. A new request whose turn does not come in time is refused, and so is one that
  waited as long for a thread: what is refused late holds up the next. One that comes back from aside goes on in any
  case, if need be beyond the number: what it did is not to be lost.
- Probes and metrics need no turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taskhub import clock
from taskhub.api.problem_document import RETRY_AFTER_S, problem_bytes
from taskhub.api.request_log import PROBES, request_id
from taskhub.logs import get_logger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = get_logger(__name__)

_TURN_S = 2.0
_RETURN_S = 1.0


class Gate:
    """A number of places for requests at work, given in the order of asking."""

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places  # below zero: so many came back beyond the number
        self._queue: deque[threading.Lock] = deque()

    def enter(self, within_s: float) -> bool:
        """Take a place; False if none becomes free in time."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return True
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        if turn.acquire(timeout=within_s):
            return True
        with self._lock:
            if turn not in self._queue:  # it has become this one's turn just now
                return True
            self._queue.remove(turn)
        return False

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            if self._queue and self._free >= 0:
                self._queue.popleft().release()
            else:
                self._free += 1

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For one who has a place: it is others' during the block."""
        self.leave()
        try:
            yield
        finally:
            if not self.enter(_RETURN_S):
                with self._lock:
                    self._free -= 1


class Gated:
    """WSGI middleware."""

    def __init__(self, application: WSGIApplication, gate: Gate) -> None:
        self._application = application
        self._gate = gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in PROBES:
            return self._application(environ, start_response)
        left_s = _TURN_S - _waited_s(environ)
        if left_s <= 0 or not self._gate.enter(left_s):
            return _refuse(environ, start_response)
        try:
            return self._application(environ, start_response)
        finally:
            self._gate.leave()


def _waited_s(environ: WSGIEnvironment) -> float:
    """How long the request has been whole, where the server tells."""
    whole_s: float | None = getattr(environ.get("wsgi.input"), "whole_s", None)
    return 0.0 if whole_s is None else clock.monotonic_s() - whole_s


def _refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    name = request_id(environ)
    log.warning("request.unavailable", extra={"text": "its turn did not come in time", "request_id": name})
    body = problem_bytes(503, "Unavailable", "unavailable", "too many requests at once; try again", name)
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Retry-After", RETRY_AFTER_S),
    ]
    start_response("503 SERVICE UNAVAILABLE", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
