"""One readable line for people: local time, what happened, fields; a traceback follows, set in.

A line is read by somebody who follows one machine: ids are cut to what tells jobs apart, the worker and what a
sentence says already are left out. Machines read the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from taskhub.logs.escaping import clip, escape, plain, text_of
from taskhub.logs.lines import MAX_LINE_BYTES
from taskhub.logs.moments import local_time
from taskhub.logs.process_log import Fields
from taskhub.logs.tracebacks import MAX_TRACEBACK_BYTES

_GREEN, _YELLOW, _RED, _DIM = "32", "33", "31", "2"
_LEVELS = {"debug": _DIM, "info": "36", "warning": _YELLOW, "error": _RED, "critical": "31;1"}
_OUTCOMES = {"completed": _GREEN, "retried": _YELLOW, "rescued": _YELLOW, "failed": _RED}
_STATUSES = {"4": _YELLOW, "5": _RED}
_UNSAID = frozenset({"worker", "request_id", "job_id", "error"})
_OF_A_JOB = frozenset({"type", "attempt", "duration_ms"})
_OF_A_REQUEST = frozenset({"method", "path", "status", "duration_ms"})
_ID = re.compile(r"\b([0-9a-f]{8}-[0-9a-f]{4})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class _Told(NamedTuple):
    """What a line says: its first words, in which colour; what follows them; fields that are left to show."""

    head: str
    colour: str
    rest: str
    fields: Fields


class ConsoleLines:
    """Makes the lines; `colours` for a terminal."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def line(
        self, at_ms: int, level: str, event: str, message: str, fields: dict[str, Any], traceback: str = ""
    ) -> bytes:
        """One line, and more of them for a traceback; MAX_LINE_BYTES together."""
        told = _told(level, event, clip(message, 1000), fields)
        head = f"{local_time(at_ms)} {self._paint(escape(clip(told.head, 300)), told.colour)}"
        shown = (f" {_key(key)}={_shown(value)}" for key, value in told.fields.items())
        head += clip(escape(told.rest) + "".join(shown), 3 * MAX_LINE_BYTES // 4)
        if traceback:
            head += _set_in(traceback, MAX_LINE_BYTES - 1 - len(head.encode()))
        return head.encode("utf-8", "backslashreplace") + b"\n"

    def lines(
        self, at_ms: int, level: str, event: str, message: str, common: Fields, rows: list[Fields]
    ) -> Iterable[bytes]:
        """Lines of one moment."""
        return [self.line(at_ms, level, event, message, common | row) for row in rows]

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def _told(level: str, event: str, message: str, fields: Fields) -> _Told:
    if event == "request":
        colour = _STATUSES.get(str(fields.get("status"))[:1], _GREEN)
        return _Told(_ID.sub(r"\1", message), colour, "", _left(fields, _OF_A_REQUEST))
    outcome = event.partition(".")[2]
    said = f"{outcome} {fields.get('type')}"
    if fields.get("job_id") and event.startswith("job.") and message.startswith(said):
        left = _left(
            fields, _OF_A_JOB | _OF_A_REQUEST | {"slot"} | ({"cause"} if fields.get("cause") == "exception" else set())
        )
        return _Told(outcome, _OUTCOMES.get(outcome, _DIM), f" {_job(fields)}{message[len(said) :]}", left)
    head = event if level == "info" else f"{level} {event}"
    rest = f" {message}" if message != event else ""
    if fields.get("job_id"):
        return _Told(head, _LEVELS.get(level, _DIM), f"{rest} ({_job(fields)})", _left(fields, _OF_A_JOB))
    return _Told(head, _LEVELS.get(level, _DIM), rest, _left(fields))


def _job(fields: Fields) -> str:
    """Which job, which attempt of it, how long."""
    words = [text_of(fields["type"], 100)] if "type" in fields else []
    words.append(_ID.sub(r"\1", text_of(fields["job_id"], 100)))
    if "attempt" in fields:
        words.append(f"attempt {text_of(fields['attempt'], 30)}")
    if isinstance(ms := fields.get("duration_ms"), float):
        words.append(f"{ms:.0f} ms" if ms >= 1 else f"{ms:.1f} ms")
    return " ".join(words)


def _left(fields: Fields, said: frozenset[str] = frozenset()) -> Fields:
    """The fields that are still to be shown."""
    return {
        key: value
        for key, value in fields.items()
        if not (key in said or key in _UNSAID or value is None or (key == "queue" and value == "default"))
    }


def _set_in(traceback: str, room: int) -> str:
    lines = clip(traceback, min(MAX_TRACEBACK_BYTES, room)).splitlines()
    return clip("".join(f"\n    | {escape(line)}" for line in lines), room)


def _key(key: object) -> str:
    return escape(text_of(key, 200))


def _shown(value: object) -> str:
    text = escape(clip(str(plain(value, 500)), 500))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
