"""One readable line for people: time, level, event, sentence, fields; a traceback follows, set in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from taskhub.logs.escaping import clip, escape, plain, text_of
from taskhub.logs.lines import MAX_LINE_BYTES
from taskhub.logs.moments import timestamp
from taskhub.logs.process_log import Fields
from taskhub.logs.tracebacks import MAX_TRACEBACK_BYTES

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


class ConsoleLines:
    """Makes the lines; `colours` for a terminal."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def line(
        self, at_ms: int, level: str, event: str, message: str, fields: dict[str, Any], traceback: str = ""
    ) -> bytes:
        """One line, and more of them for a traceback; MAX_LINE_BYTES together."""
        head = f"{timestamp(at_ms)[11:]} {self._paint(f'{level:<7}', _COLOURS.get(level, '0'))} "
        head += self._paint(escape(clip(event, 200)), "1")
        rest = [escape(clip(message, 1000))] if message != event else []
        rest += [f"{_key(key)}={_shown(value)}" for key, value in fields.items()]
        head += clip("".join(f" {part}" for part in rest), 3 * MAX_LINE_BYTES // 4)
        if traceback:
            head += _set_in(traceback, MAX_LINE_BYTES - 1 - len(head.encode()))
        return head.encode("utf-8", "backslashreplace") + b"\n"

    def lines(self, at_ms: int, level: str, event: str, common: Fields, rows: list[Fields]) -> Iterable[bytes]:
        """Lines of one moment."""
        return [self.line(at_ms, level, event, event, common | row) for row in rows]

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def _set_in(traceback: str, room: int) -> str:
    lines = clip(traceback, min(MAX_TRACEBACK_BYTES, room)).splitlines()
    return clip("".join(f"\n    | {escape(line)}" for line in lines), room)


def _key(key: object) -> str:
    return escape(text_of(key, 200))


def _shown(value: object) -> str:
    text = escape(clip(str(plain(value, 500)), 500))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
