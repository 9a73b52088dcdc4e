"""The shared memory of one worker: what its processes must know of each other when one of them dies.

One file `worker-<uuid>` in the state folder, mapped by every process of the worker. Each field has one
writer, named beside it, and is one aligned word, so a reader never sees half of it. Of each slot there
are two banks, used in turn by its generations: a new child can begin while the old one's bank is still read.

Invariants:
- What is mapped and written has its blocks on the disk already: a write into a hole of a full disk kills.
- Every process of the worker holds a lock of its own on the file (`join`), which no fork inherits: who
  gets them all knows that the worker is gone, whatever its jobs have left running.
- The file appears under its name complete and locked.
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

from taskhub import clock

MAGIC = 0x7461736B_68756203  # "taskhub", layout 3
MAX_SLOTS = 256
BANKS = 2
HEADER_BYTES = 4096
JOURNAL_BYTES = 64 * 1024
_WORDS_BYTES = 4096
BANK_BYTES = _WORDS_BYTES + JOURNAL_BYTES
FILE_BYTES = HEADER_BYTES + MAX_SLOTS * BANKS * BANK_BYTES  # the slots that are not allocated are a hole

PREFIX = "worker-"
NASCENT = "new-"  # a name that no successor looks for
SCRATCH = ".shared"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DELETED = " (deleted)"  # how the kernel names an open file without a path

# Header words.
H_MAGIC = 0  # parent
H_PARENT_PID = 1  # parent
H_PARENT_TICK = 2  # parent: boot-time ns of its loop's last turn; in the future: silent on purpose until then
H_VALID_UNTIL = 3  # sidecar: boot-time ns until which this worker may claim and start
H_FENCED = 4  # sidecar: 1 once PostgreSQL said that this worker was declared dead
H_MODE = 5  # parent: one of MODE_*
H_SLOTS = 6  # parent: how many slots are wanted
H_PEERS = 7  # sidecar: children at work in all workers
H_SIDECAR_TICK = 9  # sidecar
H_BOOT = 10  # parent: boot-time ns of this worker's start
H_LEAVE_BY = 11  # parent: boot-time ns by which the sidecar is to be gone, once all children are; 0 before
H_SIDECAR_PID = 13  # parent
H_USED_SLOTS = 14  # parent: no slot from this number on was ever used (reading would cost memory)
H_BACKOFF = 12  # parent: slots that wait before their next fork
H_ALLOCATED = 15  # parent: slots whose blocks are on the disk; the others must not be touched
H_BOOT_ID = 16  # parent: 16 bytes, the kernel's name for the present boot; times of another mean nothing
H_SIDECAR_RESTARTS = 18  # parent: how often the sidecar ended by itself, or hung
H_HUNG_ROLE = 19  # sidecar: 1 + number of the role whose standing still ended the last one; 0 none
H_LONGEST_TURN_NS = 20  # parent: its longest turn of late
H_STEP_FAILURES = 21  # parent: steps of its turns that failed unexpectedly, ever

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
    """One generation of one slot, and its journal. `number` says which of the slot's banks it is."""

    __slots__ = ("journal", "number", "slot")

    def __init__(self, view: memoryview, slot: int, number: int) -> None:
        super().__init__(view, 0, _WORDS_BYTES)
        self.slot = slot
        self.number = number
        self.journal = view[_WORDS_BYTES:BANK_BYTES]

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
    """The mapped file of a living worker. `worker` is the worker's id, taken from the file's name."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.worker = path.name.removeprefix(PREFIX)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, FILE_BYTES)
        self._view = memoryview(self._map)
        self.header = Words(self._view, 0, HEADER_BYTES)

    @classmethod
    def create(cls, folder: Path, worker: str, slots: int) -> Memory:
        """Make and lock the file of a new worker. Raises OSError if the folder cannot be used, or lacks the room."""
        folder.mkdir(parents=True, exist_ok=True)
        nascent = folder / f"{NASCENT}{worker}"
        descriptor = os.open(nascent, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, needed_bytes(slots))
            os.ftruncate(descriptor, FILE_BYTES)
            memory = cls(folder / f"{PREFIX}{worker}", descriptor)
            memory._found(slots)
            nascent.rename(memory.path)
        except OSError:
            nascent.unlink(missing_ok=True)
            raise
        return memory

    def _found(self, slots: int) -> None:
        self.join()
        header = self.header
        header[H_PARENT_PID] = os.getpid()
        header[H_BOOT] = header[H_PARENT_TICK] = now_ns()
        header[H_ALLOCATED] = slots
        header.set_id(H_BOOT_ID, boot_id())
        header[H_MAGIC] = MAGIC

    @classmethod
    def handed_over(cls, descriptor: int) -> Memory:
        """The file of this very worker, kept open over a re-execution of its supervisor."""
        os.set_inheritable(descriptor, False)
        path = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(_DELETED)
        memory = cls(Path(path), descriptor)
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
            self.header[H_ALLOCATED] = slots

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


def needed_bytes(slots: int) -> int:
    """The room on the disk that a worker with so many slots takes."""
    return bank_offset(slots, 0)


def bank_offset(slot: int, number: int) -> int:
    return HEADER_BYTES + (slot * BANKS + number) * BANK_BYTES


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
