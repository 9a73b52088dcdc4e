"""Is this still the process that asked first, or a copy that somebody forked? Told without a system call.

The kernel wipes the page below in every copy (MADV_WIPEONFORK), however it was forked: also behind Python's back.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

_WIPE_ON_FORK = 18  # of Linux 4.14's madvise(2); the mmap module does not name it


def own_process_mark() -> Sequence[int]:
    """Its first item is true in this process, and false in every copy of it."""
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # a kernel that cannot
        page.close()
        return _ByNumber()
    page[0] = 1
    return memoryview(page)


class _ByNumber(Sequence[int]):
    """The same where the kernel does not help: by the process's number."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: object) -> int:  # type: ignore[override]
        return os.getpid() == self._pid
