"""Lines of source for tracebacks, read when an error needs them.

Invariants:
- Only regular files are read, up to a bound, and only the lines asked for are kept: nothing here waits for a
  reader, or grows.
- A file that has changed since this program began is not shown: it is not the code that runs.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache

from taskhub import clock

_FILE_BYTES = 1 << 20
_LINE_CHARACTERS = 200
_BEGAN_S = clock.wall_ms() / 1000


@lru_cache(maxsize=512)
def source_line(file: str, number: int | None) -> str:
    """The line of that number without its indentation; empty if it cannot be known. Raises OSError, ValueError."""
    if not number or not file.startswith("/"):  # "<string>", or relative to what may be another folder by now
        return ""
    lines = _text(file).splitlines()
    return lines[number - 1].strip()[:_LINE_CHARACTERS] if number <= len(lines) else ""


def _text(file: str) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _FILE_BYTES or about.st_mtime > _BEGAN_S:
            return ""
        return os.read(descriptor, _FILE_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
