"""The one table of error codes and HTTP statuses, and the problem+json answers made by it."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from taskhub.api.problem_document import RETRY_AFTER_S, problem_bytes
from taskhub.api.request_log import request_id
from taskhub.api.responses import JsonResponse
from taskhub.domain.errors import FieldProblem, InvalidInputError, JobFinishedError, QueueFullError, TaskhubError
from taskhub.logs import get_logger

log = get_logger(__name__)

STATUSES = {
    "malformed_json": (400, "Malformed JSON"),
    "too_deep": (400, "JSON is nested too deep"),
    "invalid_header": (400, "Invalid header"),
    "bad_request": (400, "Bad request"),
    "unauthorized": (401, "Unauthorized"),
    "forbidden": (403, "Forbidden"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "idempotency_in_progress": (409, "The Idempotency-Key is taken"),
    "job_finished": (409, "The job has ended"),
    "not_failed": (409, "The job has not failed"),
    "not_finished": (409, "The job has not ended"),
    "body_too_large": (413, "Body too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "invalid_request": (422, "Invalid request"),
    "invalid_payload": (422, "Invalid payload"),
    "unknown_type": (422, "Unknown type"),
    "idempotency_mismatch": (422, "The Idempotency-Key was used with another body"),
    "job_refused": (422, "The database refuses the job"),
    "queue_full": (429, "Queue full"),
    "internal": (500, "Internal error"),
    "unavailable": (503, "Unavailable"),
    "schema_outdated": (503, "Unavailable"),
    "too_many_waiters": (503, "Too many requests wait"),
}

_SHOWN_AS = {"schema_outdated": "unavailable"}
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}


def problem(
    code: str,
    detail: str,
    problems: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """An answer of type application/problem+json."""
    status, title = STATUSES[code]
    more = {"errors": [each.__dict__ for each in problems]} if problems else {}
    name = request_id(request.environ)
    body = problem_bytes(status, title, _SHOWN_AS.get(code, code), detail, name, **more, **extensions)
    answer = JsonResponse(body, status, content_type="application/problem+json")
    if status in (429, 503):
        answer.headers["Retry-After"] = RETRY_AFTER_S
    answer.headers.extend(headers or {})
    return answer


def register(app: Flask) -> None:
    """Make every error an answer of the contract."""
    app.register_error_handler(TaskhubError, _of_taskhub)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_bug)


def _of_taskhub(error: Exception) -> Response:
    assert isinstance(error, TaskhubError)
    code = error.code
    if code not in STATUSES:
        return _of_bug(error)
    detail = str(error)
    if STATUSES[code][0] == 503 and code != "too_many_waiters":
        log.warning("request.unavailable", extra={"text": detail, "request_id": request_id(request.environ)})
        detail = "a dependency is away; try again"  # addresses and the like are for the log
    extensions: dict[str, Any] = {}
    if isinstance(error, JobFinishedError):
        # `status` is the HTTP status in a problem; the job's own goes by another name.
        extensions["job_status"] = error.status
    elif isinstance(error, QueueFullError):
        extensions["depth"] = error.depth
    return problem(code, detail, error.problems if isinstance(error, InvalidInputError) else None, **extensions)


def _of_http(error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.code or 500
    if status >= 500:
        return _of_bug(error)
    headers = {}
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return problem(_BY_STATUS.get(status, "bad_request"), error.name, headers=headers)


def _of_bug(error: Exception) -> Response:
    log.error(
        "request.failed",
        exc_info=error,
        extra={"request_id": request_id(request.environ), "text": "an error on our side"},
    )
    return problem("internal", "an error on our side; its request_id is in the log")
