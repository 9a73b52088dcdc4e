"""Logs: one event a line, JSON for machines or readable for people, each written by one system call.

- A record is made by `log.info("job.completed", extra={...})`: the first argument is the event, an extra
  named `text` the sentence for people, every other extra a field. Records of other libraries get their
  logger's name as event.
- No line is longer than 4 KiB (so lines of several processes on one pipe never mix) and nothing inside a
  value can end a line or reach a terminal as a control sequence.
- Nothing is buffered and only the logging module's own lock, renewed in a forked child, is held.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import orjson
from pythonjsonlogger.core import RESERVED_ATTRS, BaseJsonFormatter, LogData

from taskhub import clock
from taskhub.config import Settings
from taskhub.logs.lines import MAX_LINE_BYTES, LineWriter
from taskhub.masking import masked

MAX_TRACEBACK_BYTES = 3500

_OWN = ("taskhub", "supervisor")
_NOT_FIELDS = frozenset([*RESERVED_ATTRS, "message", "text"])
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


def configure(settings: Settings, descriptor: int = 1, *, waits: bool = True) -> None:
    """Send every record of this process to `descriptor` (standard output) in the form that is set.

    waits: False in a process whose loop must never wait, not even a moment for a reader of its log.
    """
    formatter = JsonFormatter() if settings.log_format == "json" else ConsoleFormatter(_is_terminal(descriptor))
    root = logging.getLogger()
    for old in root.handlers:
        old.close()
    root.handlers[:] = [LineHandler(descriptor, formatter, waits=waits)]
    root.setLevel(settings.log_level.upper())
    # What the lines do not show need not be found out for each record: the logging module's own switches.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def take_dropped() -> int:
    """How many lines of this process were dropped since the last call."""
    ours = [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]
    return sum(handler.writer.take_dropped() for handler in ours)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; pass `__name__`."""
    return logging.getLogger(name)


def log_all(logger: logging.Logger, level: int, event: str, rows: list[dict[str, Any]]) -> None:
    """Many records of one event at one moment, each with its own fields: a tenth of the price of one by one."""
    if not rows or not logger.isEnabledFor(level):
        return
    handler = next(iter(logging.getLogger().handlers), None)
    if isinstance(handler, LineHandler) and isinstance(handler.formatter, JsonFormatter):
        handler.write_lines(handler.formatter.lines(logging.getLevelName(level).lower(), event, rows))
    else:
        for row in rows:
            logger.log(level, event, extra=row)


class LineHandler(logging.Handler):
    """Writes each record as one line; a reader that is gone or full loses lines, nothing else."""

    def __init__(self, descriptor: int, formatter: logging.Formatter, *, waits: bool = True) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LineWriter(descriptor, self._dropped_line, waits=waits)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.write(self._line(record))
        except Exception:  # noqa: BLE001 (a value that cannot be shown must not end the caller)
            self.handleError(record)

    def write_lines(self, lines: list[bytes]) -> None:
        """Write whole lines, as many at once as stay together on a pipe."""
        chunk = bytearray()
        for line in lines:
            if len(chunk) + len(line) > MAX_LINE_BYTES:
                self.writer.write(bytes(chunk))
                chunk.clear()
            chunk += line
        self.writer.write(bytes(chunk))

    def close(self) -> None:
        super().close()
        self.writer.close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def _dropped_line(self, count: int) -> bytes:
        fields = {"text": f"{count} lines were dropped: nobody read them", "dropped": count}
        values = {"name": _OWN[0], "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log.dropped"}
        return self._line(logging.makeLogRecord(values | fields))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


class JsonFormatter(BaseJsonFormatter):
    """One JSON object: `timestamp level event message`, then the record's own fields."""

    def lines(self, level: str, event: str, rows: list[dict[str, Any]]) -> list[bytes]:
        """Lines of one moment, for fields that are known to be short."""
        second, fraction = divmod(clock.wall_ms(), 1000)
        head = {"timestamp": f"{_second(second)}.{fraction:03d}Z", "level": level, "event": event, "message": event}
        return [orjson.dumps(head | row) + b"\n" for row in rows]

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["timestamp"] = timestamp(record)
        log_data.update(_fields(record))
        if "exc_info" in message_dict:
            log_data["traceback"] = clip(masked(str(message_dict["exc_info"])), MAX_TRACEBACK_BYTES)
        if "stack_info" in message_dict:
            log_data["stack"] = clip(str(message_dict["stack_info"]), MAX_TRACEBACK_BYTES)

    def jsonify_log_record(self, log_data: LogData) -> str:
        line, limit = _encode(log_data), MAX_TRACEBACK_BYTES
        while not _fits(line):
            limit //= 2
            kept = list(log_data.items())[: None if limit > 16 else 4]
            line = _encode({key: _shortened(value, limit) for key, value in kept})
        return line


class ConsoleFormatter(logging.Formatter):
    """One readable line: time, level, event, sentence, fields; a traceback follows, set in."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        values = _fields(record)
        level, event, message = values.pop("level"), values.pop("event"), values.pop("message")
        line = f"{timestamp(record)[11:]} {self._paint(f'{level:<7}', _COLOURS.get(level, '0'))} "
        line += self._paint(escape(clip(str(event), 200)), "1")
        rest = [escape(clip(str(message), 1000))] if message != event else []
        rest += [f"{escape(str(key))}={_shown(value)}" for key, value in values.items()]
        line += clip("".join(f" {part}" for part in rest), 3 * MAX_LINE_BYTES // 4)
        if record.exc_info and record.exc_info[0]:
            line += self._set_in(masked(self.formatException(record.exc_info)), MAX_LINE_BYTES - 1 - len(line.encode()))
        return line

    def _set_in(self, traceback: str, room: int) -> str:
        lines = clip(traceback, min(MAX_TRACEBACK_BYTES, room)).splitlines()
        return clip("".join(f"\n    | {escape(line)}" for line in lines), room)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def timestamp(record: logging.LogRecord) -> str:
    """When the record was made: RFC 3339, UTC, milliseconds, `Z`."""
    second = int(record.created)
    return f"{_second(second)}.{int((record.created - second) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).isoformat()[:19]


def escape(text: str) -> str:
    """`text` without any character that ends a line, steers a terminal or turns its direction."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def clip(text: str, limit: int) -> str:
    """`text` in at most `limit` UTF-8 bytes, cut in the middle: beginnings and ends tell most."""
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit:
        return text
    mark = b" [...] "
    head = max(0, (limit - len(mark)) // 3)
    tail = max(0, limit - len(mark) - head)
    kept = encoded[:head] + mark + (encoded[-tail:] if tail else b"")
    return kept.decode("utf-8", "ignore")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Level, event and message, then the extras in the order they were given."""
    own = record.name.startswith(_OWN)
    message = record.getMessage()
    values: dict[str, Any] = {
        "level": record.levelname.lower(),
        "event": message if own else record.name,
        "message": record.__dict__.get("text", message),
    }
    values.update({key: value for key, value in record.__dict__.items() if key not in _NOT_FIELDS})
    return values


def _encode(data: LogData) -> str:
    try:
        line = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits, circles
        line = json.dumps({str(key): _shortened(value, MAX_TRACEBACK_BYTES) for key, value in data.items()})
    # JSON itself escapes all below the space, so an ASCII line can hold nothing worse than DEL.
    return line if line.isascii() and "\x7f" not in line else escape(line)


def _fits(line: str) -> bool:
    return len(line) < MAX_LINE_BYTES and (line.isascii() or len(line.encode()) < MAX_LINE_BYTES)


def _shortened(value: Any, limit: int) -> Any:
    if value is None or (isinstance(value, (int, float)) and abs(value) < 2**63):
        return value
    return clip(value if isinstance(value, str) else repr(value), limit)


def _shown(value: Any) -> str:
    text = escape(clip(str(value), 500))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
