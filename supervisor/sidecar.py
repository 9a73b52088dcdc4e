"""The supervisor's one helper process: started, woken, replaced when it dies or hangs, dismissed last of all."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable

from supervisor import memory as m
from supervisor.memory import Memory, now_ns
from supervisor.process import kill_group, spawn
from supervisor.signals import Signals
from supervisor.watch import SidecarWatch
from taskhub import clock
from taskhub.logs import get_logger

log = get_logger(__name__)

_RESTART_S, _RESTART_CAP_S = 0.2, 5.0  # doubling: the first are quick enough for its worker to count as alive
_HEALTHY_AFTER_S = 60.0  # of one life: then the next restart is quick again
_LONG_GAP_S = 2.0
_KILL_AFTER_S = 0.2


class Sidecar:
    """At most one process at a time; `hang_s` without a sign of life is as good as dead."""

    def __init__(self, shared: Memory, program: Callable[[SidecarWatch], int], signals: Signals, hang_s: float) -> None:
        self._memory = shared
        self._header = shared.header
        self._program = program
        self._signals = signals
        self._hang_s = hang_s
        self._start_at_s = self._started_at_s = 0.0
        self._deaths = 0  # in a row, without a healthy life between them
        self._is_replaced = False
        self._tick = 0
        self._ticked_at_s = self._looked_at_s = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pid: int | None = None

    def wake(self) -> None:
        """There is something new in the memory."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def keep(self, now_s: float) -> None:
        """Start it if it is missing, kill it if it hangs."""
        if self.pid is None:
            if now_s >= self._start_at_s:
                self.start()
        elif self._hangs(now_s):
            log.warning("sidecar.stalled", extra={"silent_s": round(now_s - self._ticked_at_s, 1)})
            kill_group(self.pid)

    def start(self) -> None:
        watch = SidecarWatch(self._memory, self._wake_read)
        self._ticked_at_s = self._started_at_s = clock.monotonic_s()
        try:
            self.pid = spawn(lambda: self._run(watch), self._signals)
            self._header[m.H_SIDECAR_PID] = self.pid
        except OSError as error:
            self._postpone()
            log.warning("sidecar.unforked", extra={"text": str(error)})

    def _run(self, watch: SidecarWatch) -> int:
        self._memory.join()
        return self._program(watch)

    def reap(self) -> None:
        """See whether it has ended."""
        if self.pid is None:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return
        self.pid = None
        if self._is_replaced:
            self._is_replaced = False
            return
        self._header[m.H_SIDECAR_RESTARTS] += 1
        self._postpone()
        log.warning("sidecar.exited", extra={"status": status, "text": "starting another"})

    def leave_old(self) -> None:
        """After a re-execution of the supervisor: the old one still runs the old code. The next waits for its end."""
        old = self._header[m.H_SIDECAR_PID]
        if old:
            kill_group(old)
            self.pid, self._is_replaced = old, True

    def _postpone(self) -> None:
        """Wait before the next: longer with each that did not live long."""
        now_s = clock.monotonic_s()
        self._deaths = 1 if now_s - self._started_at_s > _HEALTHY_AFTER_S else self._deaths + 1
        wait_s = min(_RESTART_CAP_S, _RESTART_S * 2.0 ** min(self._deaths - 1, 16))
        self._start_at_s = now_s + wait_s * random.uniform(0.75, 1.0)  # noqa: S311 (spreads the workers)

    def dismiss(self, until_s: float) -> None:
        """Let it account for the last children, then leave; no longer than until then."""
        if self.pid is None:
            self.start()
        self._header[m.H_LEAVE_BY] = now_ns() + int((until_s - clock.monotonic_s()) * 1e9)
        self.wake()
        while self.pid is not None and clock.monotonic_s() < until_s + _KILL_AFTER_S:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                self.pid = None
            clock.sleep(0.005)
        self.kill()

    def kill(self) -> None:
        """End it; one that the kernel holds for longer than a moment is left to itself."""
        if self.pid is not None:
            kill_group(self.pid)
            until_s = clock.monotonic_s() + _KILL_AFTER_S
            while not os.waitpid(self.pid, os.WNOHANG)[0] and clock.monotonic_s() < until_s:
                clock.sleep(0.001)
            self.pid = None

    def _hangs(self, now_s: float) -> bool:
        """Silence counts only while this process itself looks: both may have stood still together."""
        tick = self._header[m.H_SIDECAR_TICK]
        if tick != self._tick or now_s - self._looked_at_s > _LONG_GAP_S:
            self._tick, self._ticked_at_s = tick, now_s
        self._looked_at_s = now_s
        return now_s - self._ticked_at_s > self._hang_s
