"""The bytes of a problem document, also for what is refused before there is a request."""

from __future__ import annotations

from typing import Any

import orjson


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
