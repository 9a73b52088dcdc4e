"""One JSON object a line, for machines: `timestamp level event message`, then the record's own fields."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson

from taskhub.logs.escaping import clip, escape, plain, text_of
from taskhub.logs.lines import MAX_LINE_BYTES
from taskhub.logs.moments import timestamp
from taskhub.logs.process_log import Fields
from taskhub.logs.tracebacks import MAX_TRACEBACK_BYTES

HEAD = ("timestamp", "level", "event", "message")
_to_ascii = json.JSONEncoder(ensure_ascii=True).encode


class JsonLines:
    """Makes the lines."""

    def line(
        self, at_ms: int, level: str, event: str, message: str, fields: dict[str, Any], traceback: str = ""
    ) -> bytes:
        """One line. A field cannot take the place of the four that each line has."""
        data: dict[str, Any] = dict(zip(HEAD, (timestamp(at_ms), level, event, message), strict=True))
        for key, value in fields.items():
            name = key if type(key) is str and len(key) < 100 else text_of(key, 300)
            data[f"extra_{name}" if name in HEAD else name] = plain(value)
        if traceback:
            data["traceback"] = clip(traceback, MAX_TRACEBACK_BYTES)
        return _fitting(data).encode() + b"\n"

    def lines(
        self, at_ms: int, level: str, event: str, message: str, common: Fields, rows: list[Fields]
    ) -> Iterable[bytes]:
        """Lines of one moment, for fields that are known to be short and of JSON's types."""
        head = {"timestamp": timestamp(at_ms), "level": level, "event": event, "message": message}
        begin = orjson.dumps(head | common)[:-1] + b","  # the same for all: written once
        return [begin + orjson.dumps(row)[1:] + b"\n" for row in rows]


def _fitting(data: dict[str, Any]) -> str:
    """The object, its values cut shorter until it fits; in the end only the first few."""
    line, limit = _encoded(data), MAX_TRACEBACK_BYTES
    while not _fits(line):
        limit //= 2
        kept = list(data.items())[: None if limit > 16 else len(HEAD)]
        line = _encoded({clip(key, limit): _shortened(value, max(limit, 8)) for key, value in kept})
    return line


def _encoded(data: dict[str, Any]) -> str:
    try:
        line = orjson.dumps(data).decode()
    except TypeError:  # lone surrogates
        line = _to_ascii(data)
    # JSON itself escapes all below the space, so an ASCII line can hold nothing worse than DEL.
    return line if line.isascii() and "\x7f" not in line else escape(line)


def _fits(line: str) -> bool:
    return len(line) < MAX_LINE_BYTES and (line.isascii() or len(line.encode()) < MAX_LINE_BYTES)


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return clip(value, limit)
    return clip(repr(value), limit) if isinstance(value, (dict, list)) else value
