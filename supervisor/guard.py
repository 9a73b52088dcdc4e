"""Stop a task whose time is over, that is cancelled, or that outgrew its memory; replace a child that hangs.

First an exception inside the task, then the end of its process group. The kill is blind unless the child
stands still: so it is stopped, its record is read again, and only if it still runs the very same task is
it killed. A child that had moved on to its next, innocent task is let go.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence

from supervisor import memory as m
from supervisor.memory import Bank, now_ns
from supervisor.process import is_stopped, kill_group, rss_mb
from supervisor.slot import Slot
from taskhub import clock
from taskhub.config import Settings
from taskhub.logs import get_logger

log = get_logger(__name__)

INTERRUPT = signal.SIGUSR2
_STOP_WAIT_S = 0.5
_RSS_EVERY_S = 0.25
_LONG_GAP_S = 2.0

# How often the time of a stall a child may be silent, by phase; a running task has its own time.
_PATIENCE = {m.PHASE_BOOT: 1, m.PHASE_IDLE: 1, m.PHASE_SETTLING: 1, m.PHASE_WAITING: 2}


class Guard:
    """Looks at every living child once per turn of the supervisor's loop."""

    def __init__(self, settings: Settings) -> None:
        self._grace_s = settings.timers.kill_grace_s
        self._stall_s = settings.timers.stall_s
        self._hard_rss_mb = settings.hard_rss_mb
        self._soft_rss_mb = settings.max_rss_mb
        self._rss_at_s = 0.0
        self._looked_at_s = 0.0
        self._forgives_until_s = 0.0

    def look(self, slots: Sequence[Slot], now_s: float) -> None:
        if now_s - self._looked_at_s > _LONG_GAP_S:  # this process itself stood still: so may the children have
            self._forgives_until_s = now_s + self._stall_s
        self._looked_at_s = now_s
        looks_at_memory = bool(self._hard_rss_mb or self._soft_rss_mb) and now_s >= self._rss_at_s
        if looks_at_memory:
            self._rss_at_s = now_s + _RSS_EVERY_S
        for slot in slots:
            if slot.pid is None or slot.bank is None:
                continue
            self._check_task(slot, slot.bank, now_s)
            if now_s >= self._forgives_until_s:
                self._check_stall(slot, slot.bank)
            if looks_at_memory:
                self._check_memory(slot, slot.bank, may_recycle=all(map(_is_at_work, slots)))

    def _check_task(self, slot: Slot, bank: Bank, now_s: float) -> None:
        if bank[m.B_PHASE] != m.PHASE_HANDLER:
            return
        task = _task(bank)
        is_overdue = 0 < bank[m.B_DEADLINE] <= now_ns()
        is_cancelled = bytes(bank.bytes[m.B_CANCEL * 8 : m.B_CANCEL * 8 + 16]) == task[0]
        if not (is_overdue or is_cancelled):
            return
        if slot.asked != task:
            slot.asked, slot.asked_at_s = task, now_s
        if now_s - slot.asked_at_s >= self._grace_s:
            reason = m.REASON_CANCEL if is_cancelled else m.REASON_TIMEOUT
            self._kill_if(lambda: runs(bank, task), slot, bank, reason)
            return
        assert slot.pid is not None
        with contextlib.suppress(ProcessLookupError):  # again at every look: the first may have come too early
            os.kill(slot.pid, INTERRUPT)

    def _check_memory(self, slot: Slot, bank: Bank, *, may_recycle: bool) -> None:
        assert slot.pid is not None
        task = _task(bank)  # first: what is measured next must not be blamed on the one after
        used_mb = rss_mb(slot.pid)
        if self._hard_rss_mb and used_mb > self._hard_rss_mb and runs(bank, task):
            log.warning("child.too_large", extra={"slot": slot.number, "rss_mb": round(used_mb)})
            self._kill_if(lambda: runs(bank, task), slot, bank, m.REASON_MEMORY)
        elif self._soft_rss_mb and used_mb > self._soft_rss_mb and bank[m.B_TASKS_DONE] and may_recycle:
            log.info("child.recycled", extra={"slot": slot.number, "rss_mb": round(used_mb)})
            bank[m.B_ORDERS] = 1

    def _check_stall(self, slot: Slot, bank: Bank) -> None:
        if self._is_stalled(bank):
            silent_s = (now_ns() - bank[m.B_TICK]) / 1e9
            log.warning("child.stalled", extra={"slot": slot.number, "silent_s": round(silent_s, 1)})
            self._kill_if(lambda: self._is_stalled(bank), slot, bank, m.REASON_STALLED)

    def _is_stalled(self, bank: Bank) -> bool:
        patience = _PATIENCE.get(bank[m.B_PHASE])
        return patience is not None and (now_ns() - bank[m.B_TICK]) / 1e9 >= self._stall_s * patience

    def _kill_if(self, is_guilty: Callable[[], bool], slot: Slot, bank: Bank, reason: int) -> None:
        """Stop the child, and kill its group if what it was found to do still holds; else let it go on."""
        assert slot.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(slot.pid, signal.SIGSTOP)
        until_s = clock.monotonic_s() + _STOP_WAIT_S
        while not is_stopped(slot.pid) and clock.monotonic_s() < until_s:
            clock.sleep(0.001)
        if is_guilty():
            bank[m.B_DEATH_REASON] = reason
            kill_group(slot.pid)
        else:
            slot.asked = None
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.pid, signal.SIGCONT)


def _task(bank: Bank) -> tuple[bytes, int]:
    """The present task and when it began: together they never occur twice."""
    return bytes(bank.bytes[m.B_TASK * 8 : m.B_TASK * 8 + 16]), bank[m.B_STARTED]


def runs(bank: Bank, task: tuple[bytes, int]) -> bool:
    """True while the child runs this very task."""
    return bank[m.B_PHASE] == m.PHASE_HANDLER and _task(bank) == task


def _is_at_work(slot: Slot) -> bool:
    """Neither missing, nor starting, nor told to leave: children are recycled one at a time."""
    return (
        slot.bank is not None
        and slot.pid is not None
        and slot.bank[m.B_PHASE] != m.PHASE_BOOT
        and not slot.bank[m.B_ORDERS]
    )
