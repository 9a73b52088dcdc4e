"""The words of a worker's shared memory: where each stands in its file, and who alone writes it.

Each is one aligned word, so a reader never sees half of it. Of each slot there are two banks, used in turn by its
generations: a new child can begin while the old one's bank is still read.
"""

from __future__ import annotations

from taskhub import clock

MAGIC = 0x7461736B_68756203  # "taskhub", layout 3
MAX_SLOTS = 256
BANKS = 2
HEADER_BYTES = 4096
JOURNAL_BYTES = 64 * 1024
WORDS_BYTES = 4096
BANK_BYTES = WORDS_BYTES + JOURNAL_BYTES
FILE_BYTES = HEADER_BYTES + MAX_SLOTS * BANKS * BANK_BYTES  # the slots that are not allocated are a hole

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
H_SIDECAR_STOP_BY = 11  # parent: boot-time ns by which the sidecar is to be gone, once all children are; 0 before
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
B_DRAIN = 2  # parent: 1 asks this child to finish what it holds and exit
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
B_HELPER_TICK = 24  # child: boot-time ns when its helper last looked after the batch; 0 without a batch
B_SPARED = 26  # child: 16 bytes, id of a task that runs while what an earlier one has left ends the process

PHASE_BOOT, PHASE_IDLE, PHASE_HANDLER, PHASE_SETTLING, PHASE_WAITING, PHASE_LEAVING, PHASE_FINISHING = range(7)
IN_TASK = (PHASE_HANDLER, PHASE_FINISHING)  # begun, and its outcome is nowhere but in the child
PHASE_NAMES = ("boot", "idle", "running", "settling", "waiting", "leaving", "finishing")
REASON_NONE, REASON_TIMEOUT, REASON_CANCEL, REASON_MEMORY, REASON_DRAIN, REASON_STALLED, REASON_FENCED = range(7)


def now_ns() -> int:
    """Boot-time nanoseconds: the clock of every time in this memory."""
    return int(clock.boottime_s() * 1e9)


def needed_bytes(slots: int) -> int:
    """The room on the disk that a worker with so many slots takes."""
    return bank_offset(slots, 0)


def bank_offset(slot: int, number: int) -> int:
    return HEADER_BYTES + (slot * BANKS + number) * BANK_BYTES
