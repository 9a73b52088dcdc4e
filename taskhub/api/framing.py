"""When all of a request is here: its head, and a body that somebody will read.

gunicorn's parser decides what a request is. This only tells when it can be asked, so that it never waits: what looks
malformed counts as whole, and is refused by the parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData

from taskhub.api.body import unfitness

MAX_HEAD_BYTES = 65_536
MAX_IGNORED_BYTES = 65_536  # of a body that no view reads

_PIECE_BYTES = 8_192
_MAX_PIECE_BYTES = 1 << 20
_MAX_LINE_BYTES = 8_192
_MANY_CHUNKS, _SMALL_CHUNK_BYTES = 8_192, 64  # each costs the parser what a large one does
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)


class Received:
    """What gunicorn's parser reads from: the bytes that are here, never a socket."""

    def __init__(self) -> None:
        self.data = bytearray()

    def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
        """The next `size` bytes, or some. Raises NoMoreData: a body that is short is never taken for a whole one."""
        if size is None or size < 0:
            size = min(read_ahead or _PIECE_BYTES, _MAX_PIECE_BYTES, len(self.data)) or 1
        if len(self.data) < size:
            raise NoMoreData(b"")
        piece = bytes(memoryview(self.data)[:size])
        del self.data[:size]
        return piece

    def unread(self, piece: bytes) -> None:
        self.data[:0] = piece


def is_head_over(data: bytearray) -> bool:
    """True if the parser can be asked for a request: its head is here, or will never end as it should."""
    return b"\r\n\r\n" in data or len(data) > MAX_HEAD_BYTES or data.count(b"\n") != data.count(b"\r\n")


class Framing(Protocol):
    """Where a body ends in the bytes that follow its head."""

    def is_over(self, data: bytearray) -> bool:
        """True if nothing more has to come."""


class Length:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def is_over(self, data: bytearray) -> bool:
        return len(data) >= self.length


class Chunks:
    """A chunked body; no more than `limit` bytes are needed to refuse it, nor many chunks of next to nothing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._count = 0
        self._at = 0  # where the next chunk begins

    def is_over(self, data: bytearray) -> bool:
        if len(data) > 4 * self._limit + MAX_HEAD_BYTES:
            return True
        while self._at <= len(data):
            if self._at and data[self._at - 2 : self._at] != b"\r\n":
                return True
            end = data.find(b"\r\n", self._at)
            if end < 0:
                return len(data) - self._at > _MAX_LINE_BYTES
            found = _SIZE.fullmatch(data, self._at, end)
            if found is None:
                return True
            size = int(found[1], 16)
            if size == 0:
                return data.find(b"\r\n\r\n", end) >= 0 or len(data) - end > MAX_HEAD_BYTES
            if self._size + size > self._limit:
                return len(data) - end - 2 > self._limit - self._size
            self._count += 1
            if self._count > _MANY_CHUNKS and self._size < self._count * _SMALL_CHUNK_BYTES:
                return True
            self._size += size
            self._at = end + 2 + size + 2
        return False


def framing_of(request: Any, limit: int) -> Framing:
    """Of the body of a request of gunicorn's that is still unread."""
    reader = request.body.reader
    return Chunks(limit) if isinstance(reader, ChunkedReader) else Length(reader.length)


def wanted_bytes(request: Any, limits: Mapping[bytes, int]) -> int:
    """The most that a view may read of the request's body; 0: it is answered from its head.

    limits: of the paths whose POST takes a body.
    """
    limit = limits.get(unquote_to_bytes(request.path), 0) if request.method == "POST" else 0
    if not limit:
        return 0
    headers = dict(request.headers)
    is_fit = unfitness(headers.get("CONTENT-TYPE", ""), headers.get("CONTENT-ENCODING", "identity")) is None
    return limit if is_fit and getattr(request.body.reader, "length", 0) <= limit else 0
