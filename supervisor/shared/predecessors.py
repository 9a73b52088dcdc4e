"""The files of older workers in the state folder: which of them are dead, and what they held.

Invariants:
- A file is taken only with every lock on it: then no process of its worker is left. Two successors at once are
  told apart by a second lock on the open file, which two threads of one process do not share either.
- Nothing here maps such a file: it is copied, bank by bank, so that a file that is cut short, or a disk
  that cannot be read, is an error and not the end of this process.
- What is not a readable file of this layout is set aside under another name, a few at the most.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.shared import layout as m
from supervisor.shared.banks import Bank, Words
from supervisor.shared.file import PREFIX, SCRATCH, UNFINISHED, boot_id, remove_files
from supervisor.shared.layout import BANK_BYTES, BANKS, bank_offset
from taskhub import clock, ids

DAMAGED = "damaged-"
_REASON = ".reason"
_KEPT = 8
_UNFINISHED_LASTS_S = 60.0


class Predecessor:
    """One dead worker's file, locked by this process until `release`.

    flaw: why it cannot be read at all; None if it can.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.worker = path.name.removeprefix(PREFIX)
        self._descriptor = descriptor
        self._banks: list[Bank] = []
        self.is_of_this_boot = self.was_stopping = False
        self.flaw = self._read()

    @classmethod
    def take(cls, path: Path) -> Predecessor | None:
        """The file, if all processes of its worker are gone and no other successor has it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return cls(path, descriptor)
        except OSError:
            pass
        os.close(descriptor)
        return None

    def banks(self) -> Iterator[Bank]:
        """A copy of every bank that was ever used."""
        yield from self._banks

    def remove(self) -> None:
        """Everything that the worker held is accounted for."""
        remove_files(self.path)

    def set_aside(self, reason: str) -> Path:
        """Keep the bytes under another name, with the reason; the oldest of those kept so makes room."""
        kept = self.path.with_name(DAMAGED + self.worker)
        if os.fstat(self._descriptor).st_size > m.FILE_BYTES:
            os.ftruncate(self._descriptor, m.FILE_BYTES)
        self.path.rename(kept)
        with contextlib.suppress(OSError):  # on a full disk the log line must do
            kept.with_name(kept.name + _REASON).write_text(f"{reason}\n", encoding="utf-8", errors="replace")
        remove_files(self.path)
        _forget_oldest(kept.parent)
        return kept

    def release(self) -> None:
        """Give up the locks, so that a later pass, or another successor, can take them."""
        os.close(self._descriptor)

    def _read(self) -> str | None:
        """Copy the banks in use; returns why that cannot be done."""
        try:
            size = os.fstat(self._descriptor).st_size
            if size != m.FILE_BYTES:
                return f"it has {size} bytes instead of {m.FILE_BYTES}"
            header = Words(memoryview(bytearray(self._bytes(0, m.HEADER_BYTES))), 0, m.HEADER_BYTES)
            if header[m.H_MAGIC] != m.MAGIC:
                return "it is of another layout, or none"
            self.is_of_this_boot = header.get_id(m.H_BOOT_ID) == boot_id() is not None
            self.was_stopping = header[m.H_MODE] == m.MODE_DRAIN
            self._banks = list(self._used_banks())
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None

    def _used_banks(self) -> Iterator[Bank]:
        for slot in range(m.MAX_SLOTS):
            for number in range(BANKS):
                offset = bank_offset(slot, number)
                if any(self._bytes(offset, 8)):
                    yield Bank(memoryview(bytearray(self._bytes(offset, BANK_BYTES))), slot, number)

    def _bytes(self, offset: int, size: int) -> bytes:
        read = os.pread(self._descriptor, size, offset)
        if len(read) < size:
            raise OSError(0, "it was cut short while it was read")
        return read


def keep_bytes(path: Path, name: str, content: bytes, reason: str) -> None:
    """Keep a part of the state file `path` that nobody understands, with the reason, beside it. Never raises."""
    kept = path.with_name(f"{DAMAGED}{path.name.removeprefix(PREFIX)}-{name}")
    with contextlib.suppress(OSError):
        kept.touch(mode=0o600)
        kept.write_bytes(content)
        kept.with_name(kept.name + _REASON).write_text(f"{reason}\n", encoding="utf-8", errors="replace")
        _forget_oldest(kept.parent)


def older_files(folder: Path, worker: str) -> list[Path]:
    """The files of other workers in the state folder; no folder, link or socket that bears such a name."""
    with contextlib.suppress(OSError):
        return sorted(
            path
            for path in folder.glob(f"{PREFIX}*")
            if path.suffix != SCRATCH and path.name != PREFIX + worker and _is_file(path)
        )
    return []


def remove_unfinished(folder: Path) -> None:
    """Remove what a worker left behind that was killed while it made its file."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{UNFINISHED}*"):
            if _is_file(path) and clock.wall_ms() / 1000 - path.stat().st_mtime > _UNFINISHED_LASTS_S:
                unfinished = Predecessor.take(path)
                if unfinished is not None:
                    path.unlink(missing_ok=True)
                    unfinished.release()


def names_a_worker(path: Path) -> bool:
    """False for a file that no worker of ours has made."""
    return ids.is_id(path.name.removeprefix(PREFIX))


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        kept = [path for path in folder.glob(f"{DAMAGED}*") if path.suffix != _REASON and _is_file(path)]
        for path in sorted(kept, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            path.unlink(missing_ok=True)
            path.with_name(path.name + _REASON).unlink(missing_ok=True)
