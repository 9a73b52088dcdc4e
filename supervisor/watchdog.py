"""Stop a task whose time is over, that is cancelled, or that outgrew its memory; replace a child that hangs.

First an exception inside the task, then the end of its process group. A kill would be blind unless the child
is stopped: so it gets SIGSTOP, its record is read again, and only if it still runs the very same task is it
killed. A child that has moved on to its next task is continued. Nothing waits for it to stop: each look takes
every child one step further, and the looks follow closely while a kill is pending.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from supervisor.processes import is_stopped, kill_group, rss_mb, send
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.layout import now_ns
from supervisor.slot import PendingKill, Slot
from supervisor.steps import Steps
from taskhub.logs import get_logger
from taskhub.settings.fields import Settings

log = get_logger(__name__)

INTERRUPT = signal.SIGUSR2
_STOP_WAIT_S = 0.5
_RSS_EVERY_S = 0.25
_LONG_GAP_S = 2.0

# How often the time of a stall a child may be silent, by phase; a running task has its own time.
_PATIENCE = {m.PHASE_BOOT: 1, m.PHASE_IDLE: 1, m.PHASE_SETTLING: 1, m.PHASE_WAITING: 2}


class Watchdog:
    """Looks at every living child once per turn of the supervisor's loop."""

    def __init__(self, settings: Settings, steps: Steps) -> None:
        self._steps = steps
        self._grace_s = settings.timers.kill_grace_s
        self._stall_s = settings.timers.stall_s
        self._hard_rss_mb = settings.hard_rss_mb
        self._soft_rss_mb = settings.max_rss_mb
        self._rss_at_s = 0.0
        self._looked_at_s = 0.0
        self._grace_until_s = 0.0

    def look(self, slots: Sequence[Slot], now_s: float) -> None:
        if now_s - self._looked_at_s > _LONG_GAP_S:  # this process itself stood still: so may the children have
            self._grace_until_s = now_s + self._stall_s
            self._stop_again(slots, now_s)
        self._looked_at_s = now_s
        for slot in slots:
            if slot.pid is not None and slot.bank is not None and slot.killed_at_s is None:
                self._steps.run(f"watchdog.w{slot.number}", self._look_at, slot, slot.bank, now_s)
        if (self._hard_rss_mb or self._soft_rss_mb) and now_s >= self._rss_at_s:
            self._rss_at_s = now_s + _RSS_EVERY_S
            self._steps.run("memory", self._check_memory, slots, now_s)

    def _look_at(self, slot: Slot, bank: Bank, now_s: float) -> None:
        if slot.pending_kill is not None:
            self._kill_or_continue(slot, bank, slot.pending_kill, now_s)
            return
        self._check_task(slot, bank, now_s)
        if slot.pending_kill is None and now_s >= self._grace_until_s:
            self._check_stall(slot, bank, now_s)

    def _check_task(self, slot: Slot, bank: Bank, now_s: float) -> None:
        if bank[m.B_PHASE] != m.PHASE_HANDLER:
            return
        task = _task(bank)
        is_overdue = 0 < bank[m.B_DEADLINE] <= now_ns()
        is_cancelled = bytes(bank.bytes[m.B_CANCEL * 8 : m.B_CANCEL * 8 + 16]) == task[0]
        if not (is_overdue or is_cancelled):
            return
        if slot.interrupted != task:
            slot.interrupted, slot.interrupted_at_s = task, now_s
        if now_s - slot.interrupted_at_s >= self._grace_s:
            reason = m.REASON_CANCEL if is_cancelled else m.REASON_TIMEOUT
            self._stop_to_check(slot, lambda: runs(bank, task), reason, now_s)
            return
        assert slot.pid is not None
        send(slot.pid, INTERRUPT)  # again at every look: the first may have come too early

    def _check_memory(self, slots: Sequence[Slot], now_s: float) -> None:
        may_recycle = all(map(_is_at_work, slots))
        for slot in slots:
            if slot.pid is None or slot.bank is None or slot.pending_kill is not None or slot.killed_at_s is not None:
                continue
            bank, task = slot.bank, _task(slot.bank)  # before it is measured: else the task after is blamed
            used_mb = rss_mb(slot.pid)
            if self._hard_rss_mb and used_mb > self._hard_rss_mb and runs(bank, task):
                text = f"{used_mb:.0f} MB are more than HARD_RSS_MB: killed, if the same job still runs"
                log.warning("child.too_large", extra={"slot": slot.number, "rss_mb": round(used_mb), "text": text})
                self._stop_to_check(slot, partial(runs, bank, task), m.REASON_MEMORY, now_s)
            elif self._soft_rss_mb and used_mb > self._soft_rss_mb and bank[m.B_TASKS_DONE] and may_recycle:
                text = f"{used_mb:.0f} MB are more than MAX_RSS_MB: another child takes its place after this batch"
                log.info("child.recycled", extra={"slot": slot.number, "rss_mb": round(used_mb), "text": text})
                bank[m.B_DRAIN] = 1
                may_recycle = False

    def _check_stall(self, slot: Slot, bank: Bank, now_s: float) -> None:
        if self._is_stalled(bank):
            tick = bank[m.B_TICK]
            silent_s = round((now_ns() - tick) / 1e9, 1)
            text = f"no sign of life for {silent_s} s: killed, unless it gives one now"
            log.warning("child.stalled", extra={"slot": slot.number, "silent_s": silent_s, "text": text})
            self._stop_to_check(
                slot, lambda: bank[m.B_TICK] == tick and self._is_stalled(bank), m.REASON_STALLED, now_s
            )

    def _is_stalled(self, bank: Bank) -> bool:
        patience = _PATIENCE.get(bank[m.B_PHASE])
        return patience is not None and (now_ns() - bank[m.B_TICK]) / 1e9 >= self._stall_s * patience

    def _stop_to_check(self, slot: Slot, still_applies: Callable[[], bool], reason: int, now_s: float) -> None:
        """Stop the child; decide at once if it has stopped already."""
        assert slot.pid is not None
        assert slot.bank is not None
        slot.pending_kill = PendingKill(still_applies, reason, now_s)
        send(slot.pid, signal.SIGSTOP)
        self._kill_or_continue(slot, slot.bank, slot.pending_kill, now_s)

    def _stop_again(self, slots: Sequence[Slot], now_s: float) -> None:
        """Whoever let this process go on may have continued the children that a kill is pending for as well."""
        for slot in slots:
            if slot.pending_kill is not None and slot.pid is not None:
                slot.pending_kill = replace(slot.pending_kill, since_s=now_s)
                send(slot.pid, signal.SIGSTOP)

    def _kill_or_continue(self, slot: Slot, bank: Bank, pending: PendingKill, now_s: float) -> None:
        """Once the child has stopped: kill its group if the reason still applies, else continue it.

        One that does not stop for so long is in a system call, and would stop before it left that.
        """
        assert slot.pid is not None
        if not is_stopped(slot.pid) and now_s - pending.since_s < _STOP_WAIT_S:
            return
        if pending.still_applies():
            bank[m.B_DEATH_REASON] = pending.reason
            kill_group(slot.pid)
            slot.killed(now_s)
        else:
            slot.interrupted = slot.pending_kill = None
            send(slot.pid, signal.SIGCONT)


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
        and not slot.bank[m.B_DRAIN]
    )
