"""Take new code into force without stopping: try it, re-execute the supervisor in place, then replace its children.

The trial imports settings and handlers in a process that is thrown away; if that fails, all stays as it
is. Re-executed, the supervisor has the same PID, the same memory and the same children; it replaces those
one at a time, as they go idle, so that never more than one is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from supervisor.children import Children
from supervisor.output_pipes import OutputPipes
from supervisor.processes import execute, reexecute, spawn
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.signals import Signals
from supervisor.slot import Slot
from supervisor.trial import Trial, Verdict, in_memory
from taskhub.logs import get_logger

log = get_logger(__name__)

_LONG_TASK_S = 1.0
_NEXT_PROGRAM_S = 10.0


class Handover(NamedTuple):
    """Names of the environment variables that tell the next program its memory, the trial's report, and the pipes."""

    memory: str
    report: str
    outputs: str


class TrialCommand(NamedTuple):
    """The command that tries settings and handlers, its time, and the exit status that says that all is well.

    It prints one line of what is wrong; the number of the descriptor for its report is its last argument.
    """

    command: Sequence[str]
    limit_s: float
    well: int

    def begin(self, signals: Signals, now_s: float) -> Trial:
        """Raises OSError if that cannot be."""

        def start(output: int, report: int) -> int:
            return spawn(lambda: execute([*self.command, str(report)], output, report), signals)

        return Trial(start, self.limit_s, now_s, wanted=self.well)


class Reload:
    """Both halves: what happens before the re-execution, and what the new program finds."""

    def __init__(
        self,
        shared: Memory,
        handover: Handover,
        command: TrialCommand,
        signals: Signals,
        outputs: OutputPipes,
        *,
        is_continued: bool,
    ) -> None:
        self.is_continued = is_continued
        self._memory = shared
        self._handover = handover
        self._command = command
        self._signals = signals
        self._outputs = outputs
        self._trial: Trial | None = None
        self._verdict: Verdict | None = None

    @property
    def trial_pid(self) -> int | None:
        """The process that tries the new code, if one does."""
        return self._trial.pid if self._trial is not None else None

    def request(self, now_s: float) -> None:
        """Begin the trial; the loop goes on meanwhile. Asked again, it restarts with what is there now."""
        log.info("worker.reloading", extra={"text": "trying the new code"})
        self.cancel()
        try:
            self._trial = self._command.begin(self._signals, now_s)
        except OSError as error:
            _refuse(f"the trial cannot be started: {error}")

    def cancel(self) -> None:
        """The worker ends: there is nothing to reload any more."""
        trial, self._trial, self._verdict = self._trial, None, None
        if trial is not None:
            trial.stop()

    def step(self, children: Children, now_s: float) -> None:
        """See how the trial went; after a re-execution, replace the next old child."""
        if self._trial is not None:
            self._verdict = self._trial.verdict(now_s)
            if self._verdict is not None:
                self._trial = None
        if self._verdict is not None and children.are_settled:  # the next program would not know of a pending kill
            verdict, self._verdict = self._verdict, None
            self._reexecute(verdict)
        _replace_next(children.slots)

    def _reexecute(self, verdict: Verdict) -> None:
        """Become the new program. Children, their memory and its lock stay."""
        verdict.tell()
        if verdict.reason:
            _refuse(verdict.reason)
            return
        log.info("worker.reexecuting", extra={"text": "the new code is good: the supervisor becomes the new program"})
        header = self._memory.header
        header[m.H_PARENT_TICK] = now_ns() + int(_NEXT_PROGRAM_S * 1e9)  # silent on purpose until then
        try:
            with in_memory(verdict.report) as report:
                descriptor, outputs = self._memory.descriptor, self._outputs
                values = Handover(str(descriptor), str(report), outputs.handover())
                reexecute(
                    dict(zip(self._handover, values, strict=True)),
                    [descriptor, report, *outputs.descriptors],
                    self._signals,
                )
        except OSError as error:
            header[m.H_PARENT_TICK] = now_ns()
            _refuse(f"{sys.executable} cannot be executed: {error}")


def _refuse(reason: str) -> None:
    log.error("worker.reload_refused", extra={"text": f"all stays as it is: {reason}"})


def _replace_next(slots: list[Slot]) -> None:
    """Ask one old child to leave: one that is idle if there is one; never while another is missing or starting."""
    staying = [slot for slot in slots if not slot.is_surplus]
    old = [(slot.bank, _is_busy(slot.bank)) for slot in staying if slot.is_old_code and slot.bank is not None]
    if not old or any(slot.bank is None or slot.pid is None or _is_starting(slot.bank) for slot in staying):
        return
    idle = [bank for bank, is_busy in old if not is_busy]
    for bank, is_busy in old:
        if bank[m.B_DRAIN]:
            # It may be on its way out already, unless it is in the midst of a long task.
            if not (idle and is_busy and now_ns() - bank[m.B_STARTED] > _LONG_TASK_S * 1e9):
                return
            bank[m.B_DRAIN] = 0
    (idle[0] if idle else old[0][0])[m.B_DRAIN] = 1


def _is_busy(bank: Bank) -> bool:
    return bank[m.B_PHASE] in m.IN_TASK


def _is_starting(bank: Bank) -> bool:
    return bank[m.B_PHASE] == m.PHASE_BOOT
