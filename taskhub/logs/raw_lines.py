"""Bytes that came through a pipe, as lines of the log: whole ones, or what there is when nothing more comes.

The text in the making is bounded, and so are the lines of a second. What is too much costs next to nothing.
"""

from __future__ import annotations

from typing import Any

from taskhub.logs.bounded import BoundedOutput

STREAM = "raw"
_LINE_BYTES = 3000
_SILENCE_S = 0.5


class RawLines:
    """What one slot's processes write."""

    def __init__(self) -> None:
        self._bounded = BoundedOutput()
        self._rest = b""
        self._fields: dict[str, Any] = {}
        self._came_at_s = 0.0

    def add(self, data: bytes, fields: dict[str, Any], now_s: float) -> None:
        """Take what was read just now. fields: whose it is; what another has begun is a line of its own."""
        if fields != self._fields:
            self._end_line()
        self._fields, self._came_at_s = fields, now_s
        *lines, rest = (self._rest + data).split(b"\n", max(0, self._bounded.room()))
        for line in lines:
            self._tell(self._tell_long(line))
        end = rest.rfind(b"\n") + 1  # beyond the room there is
        self._bounded.dropped += rest.count(b"\n")
        self._rest = self._tell_long(rest[end:])

    def look(self, now_s: float) -> None:
        """Tell what has no end, once nothing has come for a while."""
        if now_s - self._came_at_s >= _SILENCE_S:
            self.end()

    def end(self) -> None:
        """Tell what there is, and how much is missing."""
        self._end_line()
        if self._bounded.dropped and self._bounded.room() > 0:
            self._bounded.tell("more lines came than are told", self._with_stream())

    def _end_line(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._tell(rest)

    def _tell_long(self, line: bytes) -> bytes:
        """Tell all of a line but its last piece, which is returned."""
        at = 0
        while len(line) - at > _LINE_BYTES:
            end = _end_of_piece(line, at)
            self._tell(line[at:end])
            at = end
        return line[at:]

    def _tell(self, line: bytes) -> None:
        self._bounded.tell(line.decode("utf-8", "backslashreplace"), self._with_stream())

    def _with_stream(self) -> dict[str, Any]:
        return {"stream": STREAM, **self._fields}


def _end_of_piece(line: bytes, begin: int) -> int:
    """Where the piece that begins there ends: not in the midst of a character."""
    end = begin + _LINE_BYTES
    for back in range(4):
        if line[end - back] & 0xC0 != 0x80:
            return end - back
    return end
