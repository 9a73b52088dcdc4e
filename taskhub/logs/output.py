"""What a handler prints, as lines of the log: never a part of another line.

In a process that runs handlers, `sys.stdout` and `sys.stderr` are streams that gather whole lines. What is
left without an end when a job ends is a line, too. Each is bounded, and so is their number in a second.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any

from taskhub.logs.bounded import BoundedOutput

_LINE_CHARACTERS = 3000

Fields = Callable[[], dict[str, Any]]
Pending = dict[tuple[str, int], str]  # by stream and thread


class Output:
    """Both streams of one process. fields: what is running now."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._bounded = BoundedOutput()
        self.pending: Pending = {}
        streams = (("stdout", 1), ("stderr", 2))
        self._streams = {name: LineStream(name, number, self.pending, self._tell) for name, number in streams}

    def capture(self) -> None:
        """Take the place of this process's streams."""
        for name, stream in self._streams.items():
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)

    def job_ends(self) -> None:
        """What was begun and not ended is this job's last line."""
        while self.pending:
            (stream, _), line = self.pending.popitem()
            self._tell(stream, line)

    def _tell(self, stream: str, line: str) -> None:
        self._bounded.tell(line, {"stream": stream, **self._fields()})


class LineStream(io.TextIOBase):
    """A text stream that tells whole lines; each thread has its own line in the making."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, number: int, pending: Pending, tell: Callable[[str, str], None]) -> None:
        self.name = f"<{name}>"
        self.mode = "w"
        self._pending = pending
        self._stream = name
        self._number = number
        self._tell = tell
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        key = (self._stream, threading.get_ident())
        rest = self._pending.pop(key, "") + text
        while True:
            line, end, after = rest.partition("\n")
            if not end and len(line) <= _LINE_CHARACTERS:
                break
            if len(line) > _LINE_CHARACTERS:
                line, after = rest[:_LINE_CHARACTERS], rest[_LINE_CHARACTERS:]
            self._tell(self._stream, line)
            rest = after
        if rest:
            self._pending[key] = rest
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def reconfigure(self, **_options: Any) -> None:
        """As if done: lines are told as they are complete, in UTF-8, whatever is asked for."""

    def close(self) -> None:
        """It stays open: the next job prints, too."""


class _Bytes(io.BufferedIOBase):
    """The stream for those who write bytes."""

    def __init__(self, text: LineStream) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def close(self) -> None:
        """As its text stream."""
