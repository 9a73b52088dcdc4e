"""The shared memory of one worker: what its processes must know of each other when one of them dies.

One file `worker-<uuid>` in the state folder, mapped by every process and locked by all of them together
(flock on one open file: it comes free only when the last of them is gone). Each field has one writer,
named beside it, and is one aligned word, so a reader never sees half of it. Of each slot there are two
banks, used in turn by its generations: a new child can begin while the old one's bank is still read.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from taskhub import clock

MAGIC = 0x7461736B_68756202  # "taskhub", layout 2
MAX_SLOTS = 256
BANKS = 2
HEADER_BYTES = 4096
JOURNAL_BYTES = 64 * 1024
_BANK_BYTES = 4096 + JOURNAL_BYTES
_FILE_BYTES = HEADER_BYTES + MAX_SLOTS * BANKS * _BANK_BYTES  # sparse: only what is touched takes room

_SCRATCH = ".shared"

# Header words.
H_MAGIC = 0  # parent
H_PARENT_PID = 1  # parent
H_PARENT_TICK = 2  # parent: boot-time ns of its loop's last turn
H_VALID_UNTIL = 3  # sidecar: boot-time ns until which this worker may claim and start
H_FENCED = 4  # sidecar: 1 once PostgreSQL said that this worker was declared dead
H_MODE = 5  # parent: one of MODE_*
H_SLOTS = 6  # parent: how many slots are wanted
H_PEERS = 7  # sidecar: children at work in all workers
H_HTTP_PORT = 8  # sidecar: where it listens
H_SIDECAR_TICK = 9  # sidecar
H_BOOT = 10  # parent: boot-time ns of this worker's start
H_LEAVE_BY = 11  # parent: boot-time ns by which the sidecar is to be gone, once all children are; 0 before
H_SIDECAR_PID = 13  # parent
H_USED_SLOTS = 14  # parent: no slot from this number on was ever used (reading would cost memory)
H_BACKOFF = 12  # parent: slots that wait before their next fork

MODE_RUN, MODE_QUIET, MODE_DRAIN = range(3)

# Bank words. An id or token is two words.
B_GENERATION = 0  # parent: 0 means that the bank was never used
B_PID = 1  # parent
B_ORDERS = 2  # parent: 1 asks this child to finish what it holds and exit
B_DEATH = 3  # parent: 0 alive; else wait status + 1
B_DEATH_REASON = 4  # parent: one of REASON_*, set before it kills
B_DEATH_RSS_KIB = 5  # parent
B_CONFIRMED = 6  # sidecar: 1 once everything that this generation held is accounted for
B_PHASE = 7  # child: one of PHASE_*
B_TICK = 8  # child: boot-time ns of its last sign of life
B_STARTED = 9  # child: boot-time ns when the present task began
B_DEADLINE = 10  # child: boot-time ns when it must be over; 0 none
B_TASKS_DONE = 11  # child
B_JOURNAL_END = 12  # child: bytes of the journal in use
B_TASK = 14  # child: 16 bytes, id of the present task
B_TOKEN = 16  # child: 16 bytes, token under which it runs
B_CANCEL = 18  # sidecar: 16 bytes, id of a task to stop
B_CANCEL_SERIAL = 20  # sidecar: rises when something that this child holds is to be cancelled
B_REVOKED = 22  # sidecar: 16 bytes, token whose unstarted tasks were taken away from outside
B_RELIEVED = 24  # child: boot-time ns when its helper last looked after the batch; 0 without a batch

PHASE_BOOT, PHASE_IDLE, PHASE_HANDLER, PHASE_SETTLING, PHASE_WAITING, PHASE_LEAVING, PHASE_FINISHING = range(7)
IN_TASK = (PHASE_HANDLER, PHASE_FINISHING)  # begun, and its outcome is nowhere but in the child
PHASE_NAMES = ("boot", "idle", "running", "settling", "waiting", "leaving", "finishing")
REASON_NONE, REASON_TIMEOUT, REASON_CANCEL, REASON_MEMORY, REASON_DRAIN, REASON_STALLED, REASON_FENCED = range(7)


def now_ns() -> int:
    """Boot-time nanoseconds: the clock of every time in this memory."""
    return int(clock.boottime_s() * 1e9)


class Words:
    """A run of 8-byte words in the shared memory, readable and writable by index; 16-byte ids by their first word."""

    __slots__ = ("_bytes", "_offset", "_words")

    def __init__(self, view: memoryview, offset: int, size: int) -> None:
        self._bytes = view[offset : offset + size]
        self._words = self._bytes.cast("Q")
        self._offset = offset

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value

    @property
    def raw(self) -> memoryview:
        """The words themselves, for the hot path."""
        return self._words

    @property
    def bytes(self) -> memoryview:
        return self._bytes

    def get_id(self, word: int) -> str | None:
        """The UUID at `word`; None if it is all zeros."""
        raw = bytes(self._bytes[word * 8 : word * 8 + 16])
        return str(uuid.UUID(bytes=raw)) if any(raw) else None

    def set_id(self, word: int, value: str | None) -> None:
        raw = uuid.UUID(value).bytes if value else bytes(16)
        self._bytes[word * 8 : word * 8 + 16] = raw


class Bank(Words):
    """One generation of one slot, and its journal."""

    __slots__ = ("journal", "slot")

    def __init__(self, view: memoryview, slot: int, bank: int) -> None:
        offset = HEADER_BYTES + (slot * BANKS + bank) * _BANK_BYTES
        super().__init__(view, offset, 4096)
        self.slot = slot
        self.journal = view[offset + 4096 : offset + _BANK_BYTES]

    @property
    def generation(self) -> int:
        return self[B_GENERATION]

    @property
    def is_dead(self) -> bool:
        """The parent has reaped this generation."""
        return self[B_DEATH] != 0

    @property
    def is_owed(self) -> bool:
        """Used, and not yet accounted for."""
        return self[B_GENERATION] != 0 and not self[B_CONFIRMED]

    def journal_bytes(self) -> bytes:
        return bytes(self.journal[: min(self[B_JOURNAL_END], JOURNAL_BYTES)])

    def begin(self, generation: int) -> None:
        """Wipe the bank for a new generation (by the parent, before it forks)."""
        self.bytes[:] = bytes(len(self.bytes))
        self[B_TICK] = now_ns()
        self[B_GENERATION] = generation


class Memory:
    """The mapped file. `worker` is the worker's id, taken from the file's name."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.worker = path.name.removeprefix("worker-")
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _FILE_BYTES)
        self._view = memoryview(self._map)
        self.header = Words(self._view, 0, HEADER_BYTES)

    @classmethod
    def create(cls, folder: Path, worker: str) -> Memory:
        """Make and lock the file of a new worker. Raises OSError if the folder cannot be used."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"worker-{worker}"
        nascent = folder / f"new-{worker}"  # a name that no heir looks for: it is published locked
        descriptor = os.open(nascent, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, _FILE_BYTES)
        nascent.rename(path)
        memory = cls(path, descriptor)
        memory.header[H_PARENT_PID] = os.getpid()
        memory.header[H_BOOT] = memory.header[H_PARENT_TICK] = now_ns()
        memory.header[H_MAGIC] = MAGIC
        return memory

    @classmethod
    def inherit(cls, path: Path) -> Memory | None:
        """The file of an older worker if all its processes are gone: this process then holds its lock."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size == _FILE_BYTES and path.exists():
                memory = cls(path, descriptor)
                if memory.header[H_MAGIC] == MAGIC:
                    return memory
        except OSError:
            pass
        os.close(descriptor)
        return None

    def bank(self, slot: int, generation: int) -> Bank:
        """The bank that a generation of a slot uses."""
        if slot >= self.header[H_USED_SLOTS]:
            self.header[H_USED_SLOTS] = slot + 1
        return Bank(self._view, slot, generation % BANKS)

    def banks(self) -> Iterator[Bank]:
        """Every bank that was ever used."""
        for slot in range(self.header[H_USED_SLOTS]):
            for number in range(BANKS):
                bank = Bank(self._view, slot, number)
                if bank[B_GENERATION]:
                    yield bank

    @classmethod
    def handed_over(cls, descriptor: int) -> Memory:
        """The file of this very worker, kept open over a re-execution of its supervisor."""
        os.set_inheritable(descriptor, False)
        return cls(Path(os.readlink(f"/proc/self/fd/{descriptor}")), descriptor)

    @property
    def scratch(self) -> Path:
        """A folder for what this worker's processes share besides; it goes with the file."""
        return self.path.with_name(self.path.name + _SCRATCH)

    def remove(self) -> None:
        """Delete the file: everything that its worker held is accounted for."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def release(self) -> None:
        """Give up the lock of an inherited file, so that a later pass, or another heir, can take it."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # the mapping holds the open file, too: closing is not enough
        os.close(self.descriptor)


def older_files(folder: Path, worker: str) -> list[Path]:
    """The files of other workers in the state folder."""
    own = f"worker-{worker}"
    return sorted(path for path in folder.glob("worker-*") if path.suffix != _SCRATCH and path.name != own)
