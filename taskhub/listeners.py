"""Who listens on a port of this host, as far as this process may see."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LISTENS = "0A"


def holder_of(port: int) -> str:
    """The process that listens on a TCP port, like `process 4711 (nginx)`; empty if it cannot be known.

    >>> holder_of(0)
    ''
    """
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in filter(str.isdigit, os.listdir("/proc") if sockets else []):
        with contextlib.suppress(OSError):
            if any(os.readlink(entry) in sockets for entry in _entries(f"/proc/{process}/fd")):
                return f"process {process} ({Path(f'/proc/{process}/comm').read_text(encoding='utf-8').strip()})"
    return ""


def _inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _entries(folder: str) -> Iterator[str]:
    with os.scandir(folder) as found:
        yield from (entry.path for entry in found)
