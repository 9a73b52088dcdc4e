"""The file of one worker's shared memory: what its processes must know of each other when one of them dies.

One file `worker-<uuid>` in the state folder, mapped by every process of the worker.

Invariants:
- What is mapped and written has its blocks on the disk already: a write into a hole of a full disk kills.
- Every process of the worker holds a lock of its own on the file (`join`), which no fork inherits: who
  gets them all knows that the worker is gone, whatever its jobs have left running.
- The file appears under its name complete and locked.
- Once somebody else has cut it short, or written over it, no successor believes any of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from supervisor.shared.banks import Bank, Words
from supervisor.shared.layout import (
    B_GENERATION,
    BANK_BYTES,
    BANKS,
    FILE_BYTES,
    H_ALLOCATED,
    H_BOOT,
    H_BOOT_ID,
    H_MAGIC,
    H_PARENT_PID,
    H_PARENT_TICK,
    H_USED_SLOTS,
    HEADER_BYTES,
    MAGIC,
    bank_offset,
    needed_bytes,
    now_ns,
)

PREFIX = "worker-"
UNFINISHED = "new-"  # a name that no successor looks for
SCRATCH = ".shared"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DELETED = " (deleted)"  # how the kernel names an open file without a path


class Memory:
    """The mapped file of a living worker. `worker` is the worker's id, taken from the file's name."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.worker = path.name.removeprefix(PREFIX)
        self.descriptor = descriptor
        self._needed = 0  # bytes that may be touched
        self._map = mmap.mmap(descriptor, FILE_BYTES)
        self._view = memoryview(self._map)
        self.header = Words(self._view, 0, HEADER_BYTES)

    @classmethod
    def create(cls, folder: Path, worker: str, slots: int) -> Memory:
        """Make and lock the file of a new worker. Raises OSError if the folder cannot be used, or lacks the room."""
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{UNFINISHED}{worker}"
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, needed_bytes(slots))
            os.ftruncate(descriptor, FILE_BYTES)
            memory = cls(folder / f"{PREFIX}{worker}", descriptor)
            memory._initialize(slots)
            unfinished.rename(memory.path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return memory

    def _initialize(self, slots: int) -> None:
        self.join()
        header = self.header
        header[H_PARENT_PID] = os.getpid()
        header[H_BOOT] = header[H_PARENT_TICK] = now_ns()
        self._set_allocated(slots)
        header.set_id(H_BOOT_ID, boot_id())
        header[H_MAGIC] = MAGIC

    @classmethod
    def handed_over(cls, descriptor: int) -> Memory:
        """The file of this very worker, kept open over a re-execution of its supervisor."""
        os.set_inheritable(descriptor, False)
        path = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(_DELETED)
        memory = cls(Path(path), descriptor)
        memory._needed = needed_bytes(memory.allocated)
        with contextlib.suppress(OSError):  # a successor was faster: the next heartbeat finds this worker declared dead
            memory.join()  # the execution has dropped the old lock; children and sidecar have held theirs meanwhile
        return memory

    def join(self) -> None:
        """Hold this process's own lock on the file until it ends. Raises OSError if a successor has them all.

        Closing any descriptor of the file would drop it: nothing in this process may open the file again.
        """
        fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)

    @property
    def allocated(self) -> int:
        """How many slots may be used."""
        return self.header[H_ALLOCATED]

    def allocate(self, slots: int) -> None:
        """Make room for so many slots. Raises OSError if the disk has none: then all stays as it is."""
        if slots > self.allocated:
            os.posix_fallocate(self.descriptor, 0, needed_bytes(slots))
            self._set_allocated(slots)

    def _set_allocated(self, slots: int) -> None:
        self.header[H_ALLOCATED] = slots
        self._needed = needed_bytes(slots)

    def is_whole(self) -> bool:
        """False once somebody has cut the file short: who touches what is gone is killed. Touches nothing."""
        return os.fstat(self.descriptor).st_size >= self._needed

    def make_whole(self) -> None:
        """Give it its room back, so that nobody is killed for touching it any more. What was cut away is lost."""
        os.posix_fallocate(self.descriptor, 0, self._needed)

    @property
    def is_valid(self) -> bool:
        """False once somebody else has written over the file's head."""
        return self.header[H_MAGIC] == MAGIC

    def invalidate(self) -> None:
        """It was damaged: whoever inherits it is to believe none of it."""
        self.header[H_MAGIC] = 0

    def bank(self, slot: int, generation: int) -> Bank:
        """The bank that a generation of a slot uses. Raises IndexError for a slot that is not allocated."""
        if slot >= self.allocated:
            raise IndexError(f"slot {slot} of {self.allocated}")
        if slot >= self.header[H_USED_SLOTS]:
            self.header[H_USED_SLOTS] = slot + 1
        return self._bank(slot, generation % BANKS)

    def banks(self) -> Iterator[Bank]:
        """Every bank that was ever used."""
        for slot in range(min(self.header[H_USED_SLOTS], self.allocated)):
            for number in range(BANKS):
                bank = self._bank(slot, number)
                if bank[B_GENERATION]:
                    yield bank

    def _bank(self, slot: int, number: int) -> Bank:
        offset = bank_offset(slot, number)
        return Bank(self._view[offset : offset + BANK_BYTES], slot, number)

    @property
    def scratch(self) -> Path:
        """A folder for what this worker's processes share besides; it goes with the file."""
        return scratch_of(self.path)

    def remove(self) -> None:
        """Delete the file: everything that its worker held is accounted for."""
        remove_files(self.path)


def boot_id() -> str | None:
    """The kernel's name for the present boot; None if it does not tell."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return str(uuid.UUID(file.read().strip()))
    except (OSError, ValueError):
        return None


def scratch_of(path: Path) -> Path:
    return path.with_name(path.name + SCRATCH)


def remove_files(path: Path) -> None:
    """Delete a worker's file and, before it, what goes with it: whoever is interrupted here finds the file again."""
    shutil.rmtree(scratch_of(path), ignore_errors=True)
    path.unlink(missing_ok=True)
