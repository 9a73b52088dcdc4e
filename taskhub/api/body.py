"""A request's body: JSON and nothing else, no larger than allowed, read strictly.

Imported before the fork too, so by itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from werkzeug.http import parse_options_header

from taskhub.domain import strict_json
from taskhub.domain.errors import TaskhubError

if TYPE_CHECKING:
    from flask import Request

_LARGE_BYTES = 1 << 20
_CUT_OFF = "the body ended before its length"
_BAD_CHUNKS = "the chunks of the body are not well formed, end before the last, or are very many and very small"

# A body can take 20 times its size as objects; of large ones a process decodes one at a time.
_large = threading.Lock()


class RequestError(TaskhubError):
    """What is wrong with a request before its content matters."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_json(request: Request, limit: int) -> Any:
    """The decoded body. Raises RequestError, MalformedJsonError, TooDeepError."""
    data = _read_bytes(request, limit)
    if len(data) <= _LARGE_BYTES:
        return strict_json.decode(data)
    with _large:
        return strict_json.decode(data)


def unfitness(content_type: str, coding: str) -> str | None:
    """Why a body with these headers is not read, or None."""
    if content_type != "application/json":
        kind, parameters = parse_options_header(content_type)
        if kind.lower() != "application/json" or parameters.get("charset", "utf-8").lower() != "utf-8":
            return "Content-Type must be application/json, in UTF-8"
    if coding.lower() != "identity":
        return "Content-Encoding is not supported: send the JSON itself"
    return None


def _read_bytes(request: Request, limit: int) -> bytes:
    """The body as it came, checked for its type and size. Raises RequestError."""
    environ = request.environ
    unfit = unfitness(environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", "identity"))
    if unfit is not None:
        raise RequestError("unsupported_media_type", unfit)
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    length = limit + 1 if is_chunked else request.content_length or 0
    if length > limit and not is_chunked:
        raise _too_large(limit)
    try:
        data: bytes = environ["wsgi.input"].read(length)
    except Exception:  # noqa: BLE001 (each server has its own for bad chunks and for clients that left)
        raise RequestError("bad_request", _BAD_CHUNKS if is_chunked else _CUT_OFF) from None
    if len(data) > limit:
        raise _too_large(limit)
    if len(data) < length and not is_chunked:
        raise RequestError("bad_request", _CUT_OFF)
    return data


def _too_large(limit: int) -> RequestError:
    return RequestError("body_too_large", f"the body may take {limit} bytes at the most")
