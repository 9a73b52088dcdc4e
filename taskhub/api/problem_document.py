"""The bytes of a problem document, also for what is refused before there is a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

RETRY_AFTER_S = "1"


def problem_bytes(status: int, title: str, code: str, detail: str, request_id: str, **more: Any) -> bytes:
    """application/problem+json."""
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": code,
            "detail": detail,
            "request_id": request_id,
            **more,
        }
    )


def refusal_bytes(status: int, code: str, detail: str, name: str, has_body: bool = True) -> bytes:
    """The whole answer that ends a connection with a problem."""
    title = HTTPStatus(status).phrase
    body = problem_bytes(status, title, code, detail, name)
    again = f"Retry-After: {RETRY_AFTER_S}\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nX-Request-Id: {name}\r\n{again}"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + (body if has_body else b"")
