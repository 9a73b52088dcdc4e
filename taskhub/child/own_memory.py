"""How much memory this process has in use, for a price that can be paid after every job."""

from __future__ import annotations

import contextlib
import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UNKNOWN = -1


class OwnMemory:
    """Made in the process that it measures. `limit_mb` None: it is never beyond."""

    def __init__(self, limit_mb: int | None) -> None:
        self.limit_mb = limit_mb
        self._statm = _UNKNOWN
        if limit_mb:
            with contextlib.suppress(OSError):  # the supervisor looks, too
                self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def is_limited(self) -> bool:
        return self._statm != _UNKNOWN

    def is_beyond(self) -> bool:
        """True if more is resident than the limit allows."""
        try:
            resident = int(os.pread(self._statm, 100, 0).split()[1])
        except (OSError, ValueError, IndexError):
            return False
        return bool(self.limit_mb) and resident * _PAGE_BYTES > (self.limit_mb or 0) * 1048576
