"""The supervisor: fork the children and the sidecar, watch, restart, and stop them in order.

One thread, no connection, no lock shared with a child. A turn only reads memory, makes system calls that
cannot block, and writes memory; whatever takes longer is a process of its own, looked at each turn. Every
step of a turn is guarded: none ends the loop. The first looks whether the memory is as this worker has made it.
"""

from __future__ import annotations

import signal
import threading

from supervisor.children import Children, Programs
from supervisor.output_pipes import OutputPipes
from supervisor.processes import reap_orphans, send
from supervisor.reload import Reload
from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.shutdown import Shutdown
from supervisor.sidecar_process import SidecarProcess
from supervisor.signals import IGNORED, Signals, log_ignored
from supervisor.steps import LongestTurn, Steps
from supervisor.watchdog import Watchdog
from taskhub import clock
from taskhub.logs import get_logger
from taskhub.settings.fields import Settings

log = get_logger(__name__)


_TURN_S = 0.1
_SHORT_TURN_S = 0.01  # while a kill is pending
_FORK_BUDGET_S = 0.05  # then the next turn, at once, has the rest


class Supervisor:
    """One worker. `run` returns the exit status, or RESTART once this worker was declared dead."""

    def __init__(
        self,
        settings: Settings,
        shared: Memory,
        programs: Programs,
        reload: Reload,
        signals: Signals,
        outputs: OutputPipes,
    ) -> None:
        self._settings = settings
        self._memory = shared
        self._header = shared.header
        self._reload = reload
        self._signals = signals
        self._steps = Steps()
        self._longest = LongestTurn()
        self._guard = Watchdog(settings, self._steps)
        self._sidecar = SidecarProcess(shared, programs.sidecar, signals, outputs, settings.timers.sidecar_stall_s)
        self._children = Children(shared, programs, signals, settings.timers, outputs, self._sidecar.wake)
        self._shutdown = Shutdown(shared, self._children, self._sidecar)
        self._status: int | None = None
        self._logged: set[int] = set()
        self._has_more_to_start = False

    def run(self) -> int:
        """Supervise until told to stop, or until no child can be started at all."""
        if threading.active_count() > 1:
            log.error(
                "worker.has_threads",
                extra={
                    "text": "a module has started threads, which forked children do not have: start them in the handler"
                },
            )
        self._children.begin(self._settings.worker_processes, is_continued=self._reload.is_continued)
        self._sidecar.replace_old(clock.monotonic_s())
        while self._status is None:
            received: list[int] = []
            self._steps.run("wait", self._wait, received)
            began_s = clock.monotonic_s()
            self._turn(received, began_s)
            self._header[m.H_LONGEST_TURN_NS] = int(self._longest.add(began_s) * 1e9)
            self._header[m.H_STEP_FAILURES] = self._steps.failures
        return self._status

    def _wait(self, received: list[int]) -> None:
        wait_s = _TURN_S if self._children.are_settled else _SHORT_TURN_S
        received += self._signals.wait(0.0 if self._has_more_to_start else wait_s)

    def _turn(self, received: list[int], now_s: float) -> None:
        self._steps.run("memory", self._check_memory, now_s)
        self._header[m.H_PARENT_TICK] = now_ns()
        self._has_more_to_start = False
        run, slots = self._steps.run, list(self._children.slots)
        for slot in slots:
            run(f"reap.w{slot.number}", self._children.reap, slot, is_vital=True)
        run("sidecar.reap", self._sidecar.reap, now_s)
        run("orphans", self._reap_orphans)
        self._children.forget_surplus()
        for number in received:  # by what is there now
            run("signal", self._handle, number, now_s)
        self._guard.look(self._children.slots, now_s)
        if self._header[m.H_FENCED]:
            run("fenced", self._shutdown.kill_and_restart, "declared dead", now_s)
        if self._shutdown.is_begun:
            run("shutdown", self._shut_down, now_s)
        else:
            self._supervise(now_s)
        if not self._steps.end_turn() and not self._shutdown.is_begun:
            self._shutdown.give_up("no child can be looked after any more; see supervisor.step_failed above")

    def _check_memory(self, now_s: float) -> None:
        """Before anything of it is touched. What somebody else has done to it is charged to no job."""
        if not self._memory.is_whole():
            self._memory.make_whole()
            why = "somebody has cut its state file short"
        elif not self._memory.is_valid or not self._children.are_recorded:
            why = "somebody has written into its state file"
        else:
            return
        self._memory.invalidate()
        self._shutdown.kill_and_restart(why, now_s)

    def _supervise(self, now_s: float) -> None:
        self._steps.run("sidecar.ensure_running", self._sidecar.ensure_running, now_s)
        for slot in self._children.slots:
            if self._has_more_to_start:
                break
            self._steps.run(f"start.w{slot.number}", self._children.start, slot, now_s)
            self._has_more_to_start = clock.monotonic_s() - now_s > _FORK_BUDGET_S
        self._header[m.H_BACKOFF] = sum(1 for slot in self._children.slots if slot.is_in_backoff(now_s))
        self._steps.run("reload", self._reload.step, self._children, now_s)
        if self._children.are_crash_looping:
            self._shutdown.give_up("no child lives to run a job; see child.exited above")

    def _shut_down(self, now_s: float) -> None:
        self._reload.cancel()
        self._status = self._shutdown.step(now_s)

    def _reap_orphans(self) -> None:
        reap_orphans({self._sidecar.pid, self._reload.trial_pid, *self._children.pids})

    def _handle(self, number: int, now_s: float) -> None:
        is_ending = self._shutdown.is_begun
        if number in (signal.SIGTERM, signal.SIGINT):
            self._shutdown.drain(self._settings.drain_s, now_s)
        elif number == signal.SIGQUIT:
            self._shutdown.drain(0.0, now_s)
        elif number == signal.SIGHUP and not is_ending:
            self._reload.request(now_s)
        elif number in (signal.SIGTTIN, signal.SIGTTOU) and not is_ending:
            self._children.resize(1 if number == signal.SIGTTIN else -1)
        elif number == signal.SIGTSTP and not is_ending:
            self._header[m.H_MODE] = m.MODE_QUIET
            log.info("worker.quiet", extra={"text": "no new jobs until SIGCONT"})
        elif number == signal.SIGCONT and self._header[m.H_MODE] == m.MODE_QUIET:
            self._header[m.H_MODE] = m.MODE_RUN
            log.info("worker.resumed", extra={"text": "jobs are taken again"})
        elif number == signal.SIGUSR1:
            self._dump()
        elif number in IGNORED and number not in self._logged:
            self._logged.add(number)
            log_ignored(number)

    def _dump(self) -> None:
        """Tell the log everything about everybody; the children print their stacks."""
        for slot in self._children.slots:
            bank = slot.bank
            fields: dict[str, object] = {"slot": slot.number, "pid": slot.pid, "generation": slot.generation}
            if bank is not None:
                fields |= {"phase": m.PHASE_NAMES[bank[m.B_PHASE]], "job_id": bank.get_id(m.B_TASK)}
                fields |= {"silent_s": round((now_ns() - bank[m.B_TICK]) / 1e9, 3), "done": bank[m.B_TASKS_DONE]}
            log.info("worker.state", extra=fields | {"text": f"slot {slot.number}"})
        for pid in [self._sidecar.pid, *self._children.pids]:
            if pid is not None:
                send(pid, signal.SIGUSR1)
