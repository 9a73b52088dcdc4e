"""One file of counts, in the format of prometheus-client's multiprocess mode, that no disk can kill its process with.

Invariants:
- Blocks are allocated before they are mapped: a write into a hole of a full disk would be a SIGBUS.
- What has no place in the file (no room, no folder, no right to write) is counted in memory, said once,
  and written with its next change after the file has a place again. Counting never raises.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from taskhub import clock
from taskhub.logs import get_logger

log = get_logger(__name__)

UNREADABLE = (OSError, struct.error, RuntimeError, ValueError, LookupError)

_FIRST_BYTES = 16 * 1024
_HEAD = struct.Struct("i4x")
_VALUE = struct.Struct("dd")
_AGAIN_S = 10.0


class CountsFile:
    """What the library's values need of `MmapedDict`; not for two threads at once."""

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        self._used = 0
        self._positions: dict[str, int] = {}
        self._homeless: dict[str, tuple[float, float]] = {}
        self._try_at_s = 0.0

    def read_value(self, key: str) -> tuple[float, float]:
        """The value and its time stamp; a new key begins at zero."""
        if (position := self._place(key)) is None or self._map is None:
            return self._homeless.setdefault(key, (0.0, 0.0))
        value, stamp = _VALUE.unpack_from(self._map, position)
        return value, stamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if (position := self._place(key)) is None or self._map is None:
            self._homeless[key] = (value, timestamp)
        else:  # in one assignment: a reader must not see half of it
            self._map[position : position + _VALUE.size] = _VALUE.pack(value, timestamp)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            os.close(self._file)
        self._map = self._file = None

    def _place(self, key: str) -> int | None:
        """Where the key's value is in the file; None as long as it cannot be there."""
        position = self._positions.get(key)
        if position is not None or clock.monotonic_s() < self._try_at_s:
            return position
        try:
            if not self._used:
                self._open()
            if key not in self._positions:
                self._append(key)
        except UNREADABLE as error:
            self._refuse(error)
        return self._positions.get(key)

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.close()  # what an earlier try has opened
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._map_bytes(max(_FIRST_BYTES, os.fstat(self._file).st_size))
        assert self._map is not None
        used = _HEAD.unpack_from(self._map)[0] or _HEAD.size
        if not _HEAD.size <= used <= len(self._map):
            raise ValueError("the file is damaged")
        entries = MmapedDict.read_all_values_from_file(str(self._path))  # type: ignore[no-untyped-call]
        self._positions = {key: position for key, _, _, position in entries}
        self._used = used

    def _append(self, key: str) -> None:
        assert self._map is not None
        name = key.encode()
        padded = name + b" " * (8 - (len(name) + 4) % 8)
        entry = struct.pack(f"i{len(padded)}sdd", len(name), padded, *self._homeless.get(key, (0.0, 0.0)))
        size = len(self._map)
        while self._used + len(entry) > size:
            size *= 2
        if size > len(self._map):
            self._map_bytes(size)
        self._map[self._used : self._used + len(entry)] = entry
        self._used += len(entry)
        self._map[: _HEAD.size] = _HEAD.pack(self._used)  # last: a reader stops there
        self._positions[key] = self._used - _VALUE.size
        self._homeless.pop(key, None)

    def _map_bytes(self, size: int) -> None:
        """Map so much of the file, once the disk has given it. Raises OSError: then the old mapping stays."""
        assert self._file is not None
        os.posix_fallocate(self._file, 0, size)
        self._map = mmap.mmap(self._file, size)

    def _refuse(self, error: Exception) -> None:
        if not self._try_at_s:
            text = f"{getattr(error, 'strerror', None) or error}; what has no place there is counted in memory"
            log.warning("metrics.unwritable", extra={"path": str(self._path), "text": text})
        self._try_at_s = clock.monotonic_s() + _AGAIN_S
