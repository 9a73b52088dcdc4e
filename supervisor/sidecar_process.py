"""The supervisor's one helper process: started, woken, replaced when it dies or hangs, dismissed last of all.

Each call is one step that waits for nothing: the end of a process that was killed is seen in a later turn.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable

from supervisor.output_pipes import OutputPipes
from supervisor.processes import cause, kill_group, reap, spawn
from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.shared.sidecar_link import SidecarLink
from supervisor.signals import IGNORED, Signals, log_once
from taskhub.logs import get_logger

log = get_logger(__name__)

_RESTART_S, _RESTART_CAP_S = 0.2, 5.0  # doubling: the first are quick enough for its worker to count as alive
_HEALTHY_AFTER_S = 60.0  # of one life: then the next restart is quick again
_LONG_GAP_S = 2.0
_KILL_AFTER_S = 0.2
_UNKILLABLE_S = 2.0


class SidecarProcess:
    """At most one process at a time; `hang_s` without a sign of life is as good as dead."""

    def __init__(
        self,
        shared: Memory,
        program: Callable[[SidecarLink], int],
        signals: Signals,
        outputs: OutputPipes,
        hang_s: float,
    ) -> None:
        self._memory = shared
        self._header = shared.header
        self._program = program
        self._signals = signals
        self._outputs = outputs
        self._known_outputs = 0
        self._hang_s = hang_s
        self._start_at_s = self._started_at_s = 0.0
        self._deaths = 0  # in a row, without a healthy life between them
        self._is_replaced = False
        self._killed_at_s: float | None = None
        self._stop_by_s: float | None = None
        self._tick = 0
        self._ticked_at_s = self._looked_at_s = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pid: int | None = None

    def wake(self) -> None:
        """There is something new in the memory."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def ensure_running(self, now_s: float) -> None:
        """Start it if it is missing, kill it if it hangs."""
        if self.pid is None:
            if now_s >= self._start_at_s:
                self._start(now_s)
        elif self._killed_at_s is None and self._hangs(now_s):
            silent_s = round(now_s - self._ticked_at_s, 1)
            text = f"no sign of life for {silent_s} s: killed; another takes its place"
            log.warning("sidecar.stalled", extra={"silent_s": silent_s, "text": text})
            self.kill(now_s)
        elif self._known_outputs < len(self._outputs):  # a slot was added: only a fork brings its pipe over
            self._is_replaced = True
            self.kill(now_s)

    def reap(self, now_s: float) -> None:
        """See whether it has ended. One that even SIGKILL does not end does nothing any more, and is left alone."""
        if self.pid is None:
            return
        ended = reap(self.pid)
        if ended is None:
            if self._killed_at_s is None or now_s - self._killed_at_s < _UNKILLABLE_S:
                return
            log.error("sidecar.unkillable", extra={"pid": self.pid, "text": "SIGKILL does not end it"})
        self.pid = self._killed_at_s = None
        is_meant, self._is_replaced = self._is_replaced or self._stop_by_s is not None, False
        if is_meant:
            return
        self._header[m.H_SIDECAR_RESTARTS] += 1
        self._postpone(now_s)
        status = cause(ended.status) if ended else "unknown"
        log.warning("sidecar.exited", extra={"status": status, "text": "starting another"})

    def kill(self, now_s: float) -> None:
        if self.pid is not None and self._killed_at_s is None:
            kill_group(self.pid)
            self._killed_at_s = now_s

    def replace_old(self, now_s: float) -> None:
        """After a re-execution of the supervisor: the old one still runs the old code."""
        self.pid = self._header[m.H_SIDECAR_PID] or None
        self._is_replaced = self.pid is not None
        self.kill(now_s)

    def _postpone(self, now_s: float) -> None:
        """Wait before the next: longer with each that did not live long."""
        self._deaths = 1 if now_s - self._started_at_s > _HEALTHY_AFTER_S else self._deaths + 1
        wait_s = min(_RESTART_CAP_S, _RESTART_S * 2.0 ** min(self._deaths - 1, 16))
        self._start_at_s = now_s + wait_s * random.uniform(0.75, 1.0)  # noqa: S311 (spreads the workers)

    def stop(self, until_s: float, now_s: float) -> None:
        """Have it account for the last children, then leave; no longer than until then."""
        self._stop_by_s = until_s
        if self.pid is None:
            self._start(now_s)
        self._header[m.H_SIDECAR_STOP_BY] = now_ns() + int((until_s - now_s) * 1e9)
        self.wake()

    def is_gone(self, now_s: float) -> bool:
        """Once dismissed or killed: True as soon as there is none any more."""
        if self._stop_by_s is not None and now_s >= self._stop_by_s + _KILL_AFTER_S:
            self.kill(now_s)
        return self.pid is None

    def _start(self, now_s: float) -> None:
        link = SidecarLink(self._memory, self._wake_read, self._outputs.readers)
        self._known_outputs = len(self._outputs)
        self._ticked_at_s = self._started_at_s = now_s
        try:
            self.pid = spawn(lambda: self._run(link), self._signals)
        except OSError as error:
            self._postpone(now_s)
            log.warning("sidecar.unforked", extra={"text": str(error)})
            return
        self._header[m.H_SIDECAR_PID] = self.pid

    def _run(self, link: SidecarLink) -> int:
        log_once(IGNORED)
        self._memory.join()
        return self._program(link)

    def _hangs(self, now_s: float) -> bool:
        """Silence counts only while this process itself looks: both may have stood still together."""
        tick = self._header[m.H_SIDECAR_TICK]
        if tick != self._tick or now_s - self._looked_at_s > _LONG_GAP_S:
            self._tick, self._ticked_at_s = tick, now_s
        self._looked_at_s = now_s
        return now_s - self._ticked_at_s > self._hang_s
