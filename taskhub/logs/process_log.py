"""The log of this process: from which level on, in which form, over which writer. Nothing foreign stands between."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from taskhub import clock
from taskhub.logs.lines import MAX_LINE_BYTES, LineWriter
from taskhub.logs.tracebacks import described

Fields = dict[str, Any]

MAX_FIELDS = 100
_NAMES = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
_HERE = os.path.dirname(__file__)


class Form(Protocol):
    """What lines look like."""

    def line(
        self, at_ms: int, level: str, event: str, message: str, fields: dict[str, Any], traceback: str = ""
    ) -> bytes: ...
    def lines(
        self, at_ms: int, level: str, event: str, message: str, common: Fields, rows: list[Fields]
    ) -> Iterable[bytes]: ...


class ProcessLog:
    """Tells events. An interrupt in the middle is passed on; nothing else is ever raised."""

    def __init__(self, level: int, form: Form, descriptor: int, *, waits: bool = True) -> None:
        self.level = level
        self._form = form
        self._writer = LineWriter(descriptor, self._dropped_line, waits=waits)

    def tell(
        self,
        level: str,
        event: str,
        message: str,
        fields: dict[str, Any],
        error: BaseException | None = None,
        traceback: str = "",
    ) -> None:
        """One line. traceback: of an error that is not there any more."""
        at_ms = clock.wall_ms()
        if len(fields) > MAX_FIELDS:
            fields = dict(islice(fields.items(), MAX_FIELDS))
        try:
            told = traceback if error is None else described(error)
            line = self._form.line(at_ms, level, event, message, fields, told)
        except Exception as mistake:
            if not _is_own(mistake):
                raise
            line = self._form.line(at_ms, level, event, message, {"unshown": type(mistake).__name__})
        self._writer.write(line)

    def tell_all(self, level: str, event: str, message: str, common: Fields, rows: list[Fields]) -> None:
        """Many lines of one event at one moment, as many at once as stay together on a pipe."""
        chunk = bytearray()
        for line in self._form.lines(clock.wall_ms(), level, event, message, common, rows):
            if len(chunk) + len(line) > MAX_LINE_BYTES:
                self._writer.write(bytes(chunk))
                chunk.clear()
            chunk += line
        self._writer.write(bytes(chunk))

    def take_dropped(self) -> int:
        """How many lines were dropped since the last call."""
        return self._writer.take_dropped()

    def close(self) -> None:
        self._writer.close()

    def _dropped_line(self, count: int) -> bytes:
        text = f"{count} lines were dropped: nobody read them"
        return self._form.line(clock.wall_ms(), "warning", "log.dropped", text, {"dropped": count})


def level_name(level: int) -> str:
    """The name of a level, also of one in between."""
    return next((name for least, name in _NAMES if level >= least), "debug")


def _is_own(error: BaseException) -> bool:
    """True for a mistake of ours: what a signal's handler raises in the middle comes from elsewhere."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and at.tb_frame.f_code.co_filename.startswith(_HERE)
