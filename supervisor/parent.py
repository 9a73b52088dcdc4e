"""The supervisor: fork the children and the sidecar, watch, restart, and stop them in order.

One thread, no connection, no lock shared with a child, no unbounded wait. Each turn of the loop: act on
signals, reap, guard the running tasks, fork what is missing, tick.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

from supervisor import memory as m
from supervisor.guard import Guard
from supervisor.lifeline import Lifeline
from supervisor.memory import MAX_SLOTS, Memory, now_ns
from supervisor.process import kill_group, kill_leftovers, reap_strangers, spawn
from supervisor.reload import Reload
from supervisor.sidecar import Sidecar
from supervisor.signals import Signals, signal_name
from supervisor.slot import BOOT_DEATHS_LIMIT, Slot
from supervisor.watch import SidecarWatch
from taskhub import clock
from taskhub.config import Settings
from taskhub.logs import get_logger

log = get_logger(__name__)


class Programs(NamedTuple):
    """What the forked processes run; each returns its exit status."""

    child: Callable[[Lifeline], int]
    sidecar: Callable[[SidecarWatch], int]


DRAINED, GAVE_UP = 0, 1
BEGIN_ANEW = -1  # not an exit status: the caller re-executes the program

_TURN_S = 0.1
_SIDECAR_LEAVES_S = 1.5


class Parent:
    """One worker. `run` returns the exit status, or BEGIN_ANEW once this worker was declared dead."""

    def __init__(
        self,
        settings: Settings,
        shared: Memory,
        programs: Programs,
        reload: Reload,
        signals: Signals,
    ) -> None:
        self._settings = settings
        self._memory = shared
        self._header = shared.header
        self._programs = programs
        self._reload = reload
        self._signals = signals
        self._guard = Guard(settings)
        self._slots: list[Slot] = []
        self._sidecar = Sidecar(shared, programs.sidecar, signals, settings.timers.sidecar_stall_s)
        self._drain_until_s: float | None = None
        self._status: int | None = None

    def run(self) -> int:
        """Supervise until told to stop, or until no child can be started at all."""
        assert threading.active_count() == 1, "a supervisor with threads must not fork"
        wanted = self._with_room(self._settings.worker_processes)
        self._slots = self._reload.adopted(self._memory, wanted) or [Slot(number) for number in range(wanted)]
        self._header[m.H_SLOTS] = wanted
        self._sidecar.leave_old()
        while self._status is None:
            self._turn(self._signals.wait(_TURN_S))
        return self._status

    def _turn(self, came: list[int]) -> None:
        self._header[m.H_PARENT_TICK] = now_ns()
        for number in came:
            self._act_on(number)
        self._reap()
        now_s = clock.monotonic_s()
        self._guard.look(self._slots, now_s)
        if self._header[m.H_FENCED]:
            self._begin_anew()
        elif self._drain_until_s is not None:
            self._go_on_draining(now_s)
        else:
            self._start_missing(now_s)
            self._reload.step(self._slots)
            self._give_up_if_hopeless()

    # Signals

    def _act_on(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._drain()
        elif number == signal.SIGQUIT:
            self._drain(now=True)
        elif number == signal.SIGHUP and self._drain_until_s is None:
            self._reload.request(self._memory)
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._resize(1 if number == signal.SIGTTIN else -1)
        elif number == signal.SIGTSTP and self._drain_until_s is None:
            self._header[m.H_MODE] = m.MODE_QUIET
            log.info("worker.quiet", extra={"text": "no new jobs until SIGCONT"})
        elif number == signal.SIGCONT and self._header[m.H_MODE] == m.MODE_QUIET:
            self._header[m.H_MODE] = m.MODE_RUN
            log.info("worker.resumed")
        elif number == signal.SIGUSR1:
            self._dump()

    def _drain(self, *, now: bool = False) -> None:
        """Stop in order; asked a second time, stop now."""
        is_second = self._drain_until_s is not None
        self._header[m.H_MODE] = m.MODE_DRAIN
        wait_s = 0.0 if now or is_second else self._settings.drain_s
        self._drain_until_s = clock.monotonic_s() + wait_s
        running = sum(1 for slot in self._slots if slot.bank is not None and slot.bank[m.B_PHASE] in m.IN_TASK)
        log.info("worker.draining", extra={"running": running, "deadline_s": wait_s})

    def _resize(self, by: int) -> None:
        if by > 0 and len(self._slots) < MAX_SLOTS:
            taken = {slot.number for slot in self._slots}
            number = next(number for number in range(MAX_SLOTS) if number not in taken)
            if self._with_room(number + 1) > number:
                self._slots.append(self._reload.fresh_slot(self._memory, number))
        elif by < 0 and sum(1 for slot in self._slots if not slot.is_surplus) > 1:
            [*_, last] = [slot for slot in self._slots if not slot.is_surplus]
            last.is_surplus = True
            if last.bank is not None:
                last.bank[m.B_ORDERS] = 1
        self._header[m.H_SLOTS] = sum(1 for slot in self._slots if not slot.is_surplus)
        log.info("worker.resized", extra={"slots": self._header[m.H_SLOTS]})

    def _with_room(self, slots: int) -> int:
        """So many slots, or as many as the state file has room for."""
        try:
            self._memory.allocate(slots)
        except OSError as error:
            text = f"TASKHUB_STATE_DIR has no room for {slots} slots: {error.strerror}"
            log.warning("worker.no_room", extra={"slots": self._memory.allocated, "text": text})
        return min(slots, self._memory.allocated)

    def _dump(self) -> None:
        """Tell the log everything about everybody; the children print their stacks."""
        for slot in self._slots:
            bank = slot.bank
            fields: dict[str, object] = {"slot": slot.number, "pid": slot.pid, "generation": slot.generation}
            if bank is not None:
                fields |= {"phase": m.PHASE_NAMES[bank[m.B_PHASE]], "job_id": bank.get_id(m.B_TASK)}
                fields |= {"silent_s": round((now_ns() - bank[m.B_TICK]) / 1e9, 3), "done": bank[m.B_TASKS_DONE]}
            log.info("worker.state", extra=fields)
        for pid in [self._sidecar.pid, *(slot.pid for slot in self._slots)]:
            if pid is not None:
                os.kill(pid, signal.SIGUSR1)

    # Reaping

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                pid, status, usage = os.wait4(slot.pid, os.WNOHANG)
                if pid:
                    self._child_died(slot, status, usage.ru_maxrss)
        self._slots = [slot for slot in self._slots if slot.pid is not None or not slot.is_surplus]
        self._sidecar.reap()
        if os.getpid() == 1:
            reap_strangers({self._sidecar.pid, self._reload.trial_pid, *(slot.pid for slot in self._slots)})

    def _child_died(self, slot: Slot, status: int, peak_rss_kib: int) -> None:
        """Write the obituary: from here on the sidecar answers for what the child held."""
        bank, pid = slot.bank, slot.pid
        assert bank is not None
        assert pid is not None
        kill_leftovers(pid)
        bank[m.B_DEATH_RSS_KIB] = peak_rss_kib
        bank[m.B_DEATH] = status + 1
        self._sidecar.wake()
        had_worked = bool(bank[m.B_TASKS_DONE]) or bank[m.B_PHASE] in m.IN_TASK
        was_orderly = status == 0 and bank[m.B_PHASE] == m.PHASE_LEAVING
        timers = self._settings.timers
        slot.died(had_worked, was_orderly, clock.monotonic_s(), timers.boot_backoff_s, timers.boot_backoff_cap_s)
        log.log(
            20 if status == 0 else 30,
            "child.exited",
            extra={
                "slot": slot.number,
                "pid": pid,
                "status": _described(status),
                "job_id": bank.get_id(m.B_TASK) if bank[m.B_PHASE] in m.IN_TASK else None,
                "peak_rss_mb": round(peak_rss_kib / 1024),
            },
        )

    # Forking

    def _start_missing(self, now_s: float) -> None:
        self._sidecar.keep(now_s)
        for slot in self._slots:
            if slot.may_fork(now_s) and not slot.is_surplus:
                bank = self._memory.bank(slot.number, slot.generation + 1)
                if not bank.is_owed:  # else the sidecar has still to account for the generation before the last
                    self._start_child(slot)
        self._header[m.H_BACKOFF] = sum(1 for slot in self._slots if slot.is_in_backoff(now_s))

    def _start_child(self, slot: Slot) -> None:
        slot.generation += 1
        slot.bank = self._memory.bank(slot.number, slot.generation)
        slot.bank.begin(slot.generation)
        lifeline = Lifeline(self._memory, slot.number, slot.generation)
        try:
            slot.pid = spawn(lambda: self._run_child(lifeline), self._signals)
        except OSError as error:  # no more processes or memory: as if it had died at once
            slot.bank[m.B_CONFIRMED] = 1
            log.warning("child.unforked", extra={"slot": slot.number, "text": str(error)})
            slot.died(False, False, clock.monotonic_s(), 1.0, self._settings.timers.boot_backoff_cap_s)
            return
        slot.bank[m.B_PID] = slot.pid
        slot.forked_at_s = clock.monotonic_s()
        log.info("child.started", extra={"slot": slot.number, "pid": slot.pid, "generation": slot.generation})

    def _run_child(self, lifeline: Lifeline) -> int:
        lifeline.arrive()
        return self._programs.child(lifeline)

    def _give_up_if_hopeless(self) -> None:
        if all(slot.boot_deaths >= BOOT_DEATHS_LIMIT for slot in self._slots):
            log.error("worker.hopeless", extra={"text": "no child lives to run a job; see child.exited above"})
            self._kill_children(m.REASON_NONE)
            self._sidecar.dismiss(clock.monotonic_s() + _SIDECAR_LEAVES_S)
            self._status = GAVE_UP

    # Ending

    def _go_on_draining(self, now_s: float) -> None:
        assert self._drain_until_s is not None
        if any(slot.pid is not None for slot in self._slots):
            if now_s >= self._drain_until_s:
                self._kill_children(m.REASON_DRAIN)
            else:
                self._sidecar.keep(now_s)
            return
        self._sidecar.dismiss(now_s + _SIDECAR_LEAVES_S)
        self._status = DRAINED

    def _kill_children(self, reason: int) -> None:
        """Kill, and reap, and only then say so: what they held is given back after, never before."""
        for slot in self._slots:
            if slot.pid is not None and slot.bank is not None:
                slot.bank[m.B_DEATH_REASON] = reason
                kill_group(slot.pid)
        for slot in self._slots:
            if slot.pid is not None:
                _, status, usage = os.wait4(slot.pid, 0)
                self._child_died(slot, status, usage.ru_maxrss)

    def _begin_anew(self) -> None:
        """PostgreSQL knows this worker as dead: all that it holds is being run by others."""
        log.error("worker.begins_anew", extra={"text": "declared dead; children are killed, a new worker begins"})
        self._kill_children(m.REASON_FENCED)
        self._sidecar.kill()
        self._status = BEGIN_ANEW


def _described(status: int) -> str:
    """A wait status as people say it."""
    if os.WIFSIGNALED(status):
        return signal_name(os.WTERMSIG(status))
    return f"exit {os.WEXITSTATUS(status)}"
