"""What a child knows of its supervisor, and tells it: one bank of the shared memory, seen from the child's side.

Duties: say whether to go on, whether it may start something now, that it is alive, what it is doing, and
what it has finished that nobody else knows of yet (the journal).
"""

from __future__ import annotations

import os
import time

from supervisor.leftovers import mark_descendants, mark_of
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.file import Memory

_BOOTTIME = time.CLOCK_BOOTTIME
_TASK, _CANCEL, _TOKEN, _SPARED = (
    slice(word * 8, word * 8 + 16) for word in (m.B_TASK, m.B_CANCEL, m.B_TOKEN, m.B_SPARED)
)


class ChildLink:
    """The child's end of the line. Made by the parent before the fork, used by the child's processes only."""

    def __init__(self, shared: Memory, slot: int, generation: int) -> None:
        self.worker = shared.worker
        self.slot = slot
        self.generation = generation
        self._parent = os.getpid()
        self._memory = shared
        self._header = shared.header.raw
        self._bank: Bank = shared.bank(slot, generation)
        self._words = self._bank.raw
        self._bytes = self._bank.bytes
        self._journal = self._bank.journal
        self._journal_end = 0

    def arrive(self) -> None:
        """First of all in the child: be one of the worker's processes, and have all that it starts known as its own."""
        self._memory.join()
        mark_descendants(mark_of(self.worker, self.slot, self.generation))

    def is_wanted(self) -> bool:
        """False once this child is to finish what it holds and leave."""
        return not self._words[m.B_DRAIN] and self._header[m.H_MODE] != m.MODE_DRAIN and not self._header[m.H_FENCED]

    def has_supervisor(self) -> bool:
        """False in an orphan (the kernel kills those; this is the second wall)."""
        return os.getppid() == self._parent

    def is_quiet(self) -> bool:
        """True while the operator wants nothing new started."""
        return self._header[m.H_MODE] == m.MODE_QUIET

    def may_start(self) -> bool:
        """True while PostgreSQL is known to regard this worker as alive: else nothing may be claimed or started."""
        return time.clock_gettime_ns(_BOOTTIME) < self._header[m.H_VALID_UNTIL]

    def may_begin(self, cancel_serial: int) -> bool:
        """True while one task after the other may begin: wanted, allowed, and nothing cancelled since that serial."""
        words, header = self._words, self._header
        return (
            not words[m.B_DRAIN]
            and words[m.B_CANCEL_SERIAL] == cancel_serial
            and header[m.H_MODE] != m.MODE_DRAIN
            and not header[m.H_FENCED]
            and time.clock_gettime_ns(_BOOTTIME) < header[m.H_VALID_UNTIL]
        )

    def peers(self) -> int:
        """How many children work in all workers together, this one included."""
        return max(1, self._header[m.H_PEERS])

    def cancel_serial(self) -> int:
        """Rises when something that this child holds is to be cancelled."""
        return self._words[m.B_CANCEL_SERIAL]

    def is_cancelled_now(self) -> bool:
        """True if a task is running and this very one is to be stopped."""
        return self._words[m.B_PHASE] == m.PHASE_HANDLER and self._bytes[_TASK] == self._bytes[_CANCEL]

    def is_revoked(self) -> bool:
        """True if what the present token claimed and has not started was taken away from outside."""
        words = self._words
        return words[m.B_REVOKED] == words[m.B_TOKEN] and words[m.B_REVOKED + 1] == words[m.B_TOKEN + 1]

    def idle(self) -> None:
        """Looking for something to do."""
        self._tick(m.PHASE_IDLE)

    def settling(self) -> None:
        """Between two tasks, or writing down what is finished."""
        self._tick(m.PHASE_SETTLING)

    def waiting(self) -> None:
        """Nothing can be done: a dependency is away, or starting is not allowed now."""
        self._tick(m.PHASE_WAITING)

    def leaving(self) -> None:
        """About to exit of its own accord, holding nothing."""
        self._tick(m.PHASE_LEAVING)

    def _tick(self, phase: int) -> None:
        self._words[m.B_TICK] = time.clock_gettime_ns(_BOOTTIME)
        self._words[m.B_PHASE] = phase

    def relieved(self, is_needed: bool) -> None:
        """Say that the helper has just looked after the batch (or that there is none)."""
        self._words[m.B_HELPER_TICK] = time.clock_gettime_ns(_BOOTTIME) if is_needed else 0

    def hold(self, token: bytes) -> None:
        """From here on, tasks run under this token."""
        self._bytes[_TOKEN] = token

    def begin(self, task: bytes, timeout_s: float) -> float:
        """A task starts; it must be over within `timeout_s`. Returns the moment, in seconds since boot."""
        words, now = self._words, time.clock_gettime_ns(_BOOTTIME)
        self._bytes[_TASK] = task
        words[m.B_STARTED] = words[m.B_TICK] = now
        words[m.B_DEADLINE] = now + int(timeout_s * 1e9)
        words[m.B_PHASE] = m.PHASE_HANDLER
        return now / 1e9

    def present_task(self) -> bytes:
        """The id of the task that is running; empty if none is."""
        return bytes(self._bytes[_TASK]) if self._words[m.B_PHASE] in m.IN_TASK else b""

    def spare_task(self) -> None:
        """Somebody else is about to end this process: the running task has not done it."""
        self._bytes[_SPARED] = self._bytes[_TASK]

    def finishing(self) -> None:
        """The task's function has returned, its outcome is nowhere but here: its time is not running any more."""
        self._words[m.B_DEADLINE] = 0
        self._tick(m.PHASE_FINISHING)

    def end(self) -> None:
        """The task's function has returned and its outcome is in the journal (or settled)."""
        words = self._words
        words[m.B_PHASE] = m.PHASE_SETTLING
        words[m.B_DEADLINE] = 0
        words[m.B_TASKS_DONE] += 1

    def running_since_s(self) -> float:
        """When the present task began, in seconds since boot; 0 if none runs."""
        return self._words[m.B_STARTED] / 1e9 if self._words[m.B_PHASE] == m.PHASE_HANDLER else 0.0

    def is_overdue(self) -> bool:
        """True if a task is running and its time is over."""
        words = self._words
        deadline = words[m.B_DEADLINE]
        return words[m.B_PHASE] == m.PHASE_HANDLER and deadline != 0 and time.clock_gettime_ns(_BOOTTIME) >= deadline

    def left_s(self) -> float:
        """Seconds until the present task must be over; negative once it is late, 0 if nothing runs."""
        deadline = self._words[m.B_DEADLINE]
        return (deadline - time.clock_gettime_ns(_BOOTTIME)) / 1e9 if deadline else 0.0

    def note(self, entry: bytes) -> bool:
        """Append to the journal; False if it does not fit any more."""
        end = self._journal_end + len(entry)
        if end > m.JOURNAL_BYTES:
            return False
        self._journal[self._journal_end : end] = entry
        self._words[m.B_JOURNAL_END] = self._journal_end = end  # last: a torn entry does not count
        return True

    def clear_notes(self) -> None:
        """Everything in the journal is settled."""
        if self._journal_end:
            self._words[m.B_JOURNAL_END] = self._journal_end = 0
