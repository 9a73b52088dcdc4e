"""An answer of the worker's HTTP port."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson


class HttpAnswer(NamedTuple):
    """Status, content type, body, and headers besides."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = {}

    def head(self) -> bytes:
        """The head as it is sent."""
        told = {"Content-Type": self.kind, "Content-Length": str(len(self.body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in {**told, **self.headers}.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def checked(is_ok: bool, checks: dict[str, Any]) -> HttpAnswer:
    """The answer of a probe."""
    return _json(200 if is_ok else 503, {"status": "ok" if is_ok else "unavailable", "checks": checks})


def plain(status: int, **headers: str) -> HttpAnswer:
    """An answer that says no more than its status."""
    return _json(status, {"status": "unavailable", "checks": {}})._replace(headers=headers)


def _json(status: int, body: dict[str, Any]) -> HttpAnswer:
    return HttpAnswer(status, "application/json", orjson.dumps(body))
