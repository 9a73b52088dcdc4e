"""One look at every request, around the whole application: its id, its log line, its metrics.

A request that has submitted a job has one line, the job's, which tells of both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from flask import request

from taskhub import clock, ids
from taskhub.domain.new_job import NewJob
from taskhub.events.jobs import JobsSubmitted
from taskhub.events.teller import Teller
from taskhub.logs import get_logger
from taskhub.metrics import definitions as metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = get_logger(__name__)

PROBES = frozenset(("/livez", "/readyz", "/health", "/metrics"))

_REQUEST_ID = "taskhub.request_id"
_ROUTE = "taskhub.route"
_SUBMITTED = "taskhub.submitted"
_NO_ROUTE = "none"
_SANE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_LONGEST_PATH = 200
_QUIET = frozenset((*PROBES, "/jobs/<job_id>"))  # what is asked again and again


def request_id(environ: WSGIEnvironment) -> str:
    """The request's id: the client's own X-Request-Id if that is sane, else a new one."""
    found: str = environ.get(_REQUEST_ID, "")
    return found


def note_route() -> None:
    """In the application, before a view: for logs and metrics, which must not have a label per job."""
    request.environ[_ROUTE] = request.url_rule.rule if request.url_rule is not None else _NO_ROUTE


def note_submitted(environ: WSGIEnvironment, new_job: NewJob) -> None:
    """By a view: the request's job is committed; it is told when the answer is known."""
    environ[_SUBMITTED] = new_job


class Process(Protocol):
    """What is known of the process."""

    teller: Teller

    def is_draining(self) -> bool: ...


class RequestLog:
    """WSGI middleware."""

    def __init__(self, application: WSGIApplication, process: Process) -> None:
        self._application = application
        self._process = process
        self._requests: dict[tuple[str, str, str], Any] = {}
        self._durations: dict[tuple[str, str], Any] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started_s = clock.monotonic_s()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        name = environ[_REQUEST_ID] = given if _SANE_ID.fullmatch(given) else ids.new_token()
        status = "500"

        def start(line: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            nonlocal status
            status = line[:3]
            if self._process.is_draining() or (status >= "400" and not getattr(environ["wsgi.input"], "is_read", True)):
                _close_after(environ)
            headers.append(("X-Request-Id", name))
            return start_response(line, headers, *error)

        try:
            return self._application(environ, start)
        finally:
            self._note(environ, status, clock.monotonic_s() - started_s)

    def _note(self, environ: WSGIEnvironment, status: str, duration_s: float) -> None:
        method, route = environ.get("REQUEST_METHOD", ""), environ.get(_ROUTE, _NO_ROUTE)
        self._count(method if method in _METHODS else "other", route, status, duration_s)
        is_quiet = route in _QUIET and status < ("500" if route in PROBES else "400")
        level = logging.DEBUG if is_quiet else logging.INFO
        new_job: NewJob | None = environ.get(_SUBMITTED)
        if new_job is None and not log.isEnabledFor(level):
            return
        method, path = method[:20], environ.get("PATH_INFO", "")[:_LONGEST_PATH]
        fields = {
            "request_id": environ[_REQUEST_ID],
            "method": method,
            "path": path,
            "status": int(status),
            "duration_ms": round(duration_s * 1000, 3),
        }
        if new_job is not None:
            self._process.teller.tell(JobsSubmitted([new_job], fields))
        else:
            text = f"{method} {path} {status} {duration_s * 1000:.0f} ms"
            log.log(level, "request", extra={**fields, "text": text})

    def _count(self, method: str, route: str, status: str, duration_s: float) -> None:
        # Labels are looked up once: the library's own look-up costs as much as counting does.
        requests = self._requests.get((method, route, status))
        if requests is None:
            # This table first: a thread that finds its entry in the other one needs both.
            self._durations[method, route] = metrics.HTTP_DURATION.labels(method, route)
            requests = self._requests[method, route, status] = metrics.HTTP_REQUESTS.labels(method, route, status)
        requests.inc()
        self._durations[method, route].observe(duration_s)


def _close_after(environ: WSGIEnvironment) -> None:
    """The connection ends with this answer: the process does, or a refused request's body is not waited for."""
    server_request = getattr(environ["wsgi.input"], "request", None)
    if server_request is not None:
        server_request.force_close()
