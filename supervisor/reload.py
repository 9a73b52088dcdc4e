"""Take new code into force without stopping: try it, re-execute the supervisor in place, then replace its children.

The trial imports settings and handlers in a process that is thrown away; if that fails, all stays as it
is. Re-executed, the supervisor has the same PID, the same memory and the same children; it replaces those
one at a time, as they go idle, so that never more than one is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

from supervisor import memory as m
from supervisor.memory import BANKS, Bank, Memory, now_ns
from supervisor.signals import Signals
from supervisor.slot import Slot
from taskhub import clock
from taskhub.logs import get_logger

log = get_logger(__name__)

_TRIAL_S = 60.0
_REASON_CHARACTERS = 500
_LONG_TASK_S = 1.0


class Reload:
    """Both halves: what happens before the re-execution, and what the new program finds.

    handover: name of the environment variable that tells the new program its inherited memory.
    trial: the command that tries settings and handlers, exits with 0 or prints one line of what is wrong.
    """

    def __init__(self, handover: str, trial: Sequence[str], signals: Signals, *, is_continued: bool) -> None:
        self._handover = handover
        self._signals = signals
        self._trial = list(trial)
        self._is_continued = is_continued
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._until_s = 0.0
        self._memory: Memory | None = None

    # Before

    @property
    def trial_pid(self) -> int | None:
        """The process that tries the new code, if one does."""
        return self._process.pid if self._process is not None else None

    def request(self, shared: Memory) -> None:
        """Begin the trial; the loop goes on meanwhile."""
        if self._process is not None:
            return
        self._memory = shared
        self._until_s = clock.monotonic_s() + _TRIAL_S
        log.info("worker.reloading", extra={"text": "trying the new code"})
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads meanwhile may fill)
        self._process = subprocess.Popen(  # noqa: S603
            self._trial, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )

    def step(self, slots: list[Slot]) -> None:
        """See how the trial went; after a re-execution, replace the next old child."""
        if self._process is not None:
            self._see_trial()
        self._replace_next(slots)

    def _see_trial(self) -> None:
        assert self._process is not None
        status = self._process.poll()
        if status is None and clock.monotonic_s() < self._until_s:
            return
        if status is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        if status == 0:
            self._execute()
        reason = self._said() if status is not None else f"the trial took longer than {_TRIAL_S:.0f} s"
        log.error("worker.reload_refused", extra={"text": f"all stays as it is: {reason or f'exit {status}'}"})

    def _said(self) -> str:
        """What the trial wrote, on one line; the end of it if it is long."""
        assert self._output is not None
        with self._output as output:
            output.seek(0)
            return " ".join(output.read().decode("utf-8", "replace").split())[-_REASON_CHARACTERS:]

    def _execute(self) -> None:
        """Become the new program. Children, their memory and its lock stay."""
        assert self._memory is not None
        log.info("worker.reexecuting")
        os.set_inheritable(self._memory.descriptor, True)
        os.environ[self._handover] = str(self._memory.descriptor)
        sys.stdout.flush()
        sys.stderr.flush()
        self._signals.keep_for_next_program()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606

    # After

    def adopted(self, shared: Memory, wanted: int) -> list[Slot]:
        """The slots with the children that were there before the re-execution; none at a first start."""
        if not self._is_continued:
            return []
        used = max(wanted, shared.header[m.H_USED_SLOTS])
        slots = [self._adopted_slot(shared, number) for number in range(used)]
        for slot in slots[wanted:]:
            slot.is_surplus = True
            if slot.bank is not None:
                slot.bank[m.B_ORDERS] = 1
        return slots[:wanted] + [slot for slot in slots[wanted:] if slot.pid is not None]

    def fresh_slot(self, shared: Memory, number: int) -> Slot:
        """A slot that may have been used before: its generations go on counting."""
        slot = self._adopted_slot(shared, number)
        slot.pid, slot.is_old_code = None, False
        return slot

    def _adopted_slot(self, shared: Memory, number: int) -> Slot:
        newest: Bank = max((shared.bank(number, n) for n in range(BANKS)), key=lambda bank: bank.generation)
        is_alive = newest.generation > 0 and not newest.is_dead
        return Slot(
            number,
            generation=newest.generation,
            pid=newest[m.B_PID] or None if is_alive else None,
            bank=newest if newest.generation else None,
            is_old_code=is_alive,
        )

    def _replace_next(self, slots: list[Slot]) -> None:
        """Ask one old child to leave: one that is idle if there is one; never while another is missing or starting."""
        staying = [slot for slot in slots if not slot.is_surplus]
        old = [(slot.bank, _is_busy(slot.bank)) for slot in staying if slot.is_old_code and slot.bank is not None]
        if not old or any(slot.bank is None or slot.pid is None or _is_starting(slot.bank) for slot in staying):
            return
        idle = [bank for bank, is_busy in old if not is_busy]
        for bank, is_busy in old:
            if bank[m.B_ORDERS]:
                # It may be on its way out already, unless it is in the midst of a long task.
                if not (idle and is_busy and now_ns() - bank[m.B_STARTED] > _LONG_TASK_S * 1e9):
                    return
                bank[m.B_ORDERS] = 0
        (idle[0] if idle else old[0][0])[m.B_ORDERS] = 1


def _is_busy(bank: Bank) -> bool:
    return bank[m.B_PHASE] in m.IN_TASK


def _is_starting(bank: Bank) -> bool:
    return bank[m.B_PHASE] == m.PHASE_BOOT
