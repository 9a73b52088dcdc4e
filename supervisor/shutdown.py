"""How a worker ends: children first, then the sidecar, which accounts for them. Once begun, it only goes on.

draining -> the time is up, or the children are gone -> killed -> reaped -> sidecar leaves -> exit status.
"""

from __future__ import annotations

from supervisor.children import Children
from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from supervisor.sidecar_process import SidecarProcess
from taskhub.logs import get_logger

log = get_logger(__name__)

DRAINED, GAVE_UP = 0, 1
RESTART = -1  # not an exit status: the caller re-executes the program

_SIDECAR_LEAVES_S = 1.5


class Shutdown:
    """`step` once a turn, as soon as `is_begun`; it returns the status when all is done."""

    def __init__(self, shared: Memory, children: Children, sidecar: SidecarProcess) -> None:
        self._header = shared.header
        self._children = children
        self._sidecar = sidecar
        self._status: int | None = None
        self._kill_at_s = 0.0
        self._is_killed = False
        self._is_sidecar_stopped = False

    @property
    def is_begun(self) -> bool:
        return self._status is not None

    def drain(self, wait_s: float, now_s: float) -> None:
        """Stop in order; asked a second time, stop now."""
        if self._status is not None:
            wait_s = 0.0
        if self._status != GAVE_UP:
            self._status = DRAINED
        self._header[m.H_MODE] = m.MODE_DRAIN
        self._kill_at_s = now_s + wait_s
        running = self._children.running
        text = f"no new jobs; {running} running have {wait_s:g} s to end"
        log.info("worker.draining", extra={"running": running, "deadline_s": wait_s, "text": text})

    def give_up(self, reason: str) -> None:
        """No child can be had, or none looked after."""
        log.error("worker.hopeless", extra={"text": reason})
        self._header[m.H_MODE] = m.MODE_DRAIN
        self._status = GAVE_UP
        self._kill(m.REASON_DRAIN)  # what still runs is cut off by us

    def kill_and_restart(self, why: str, now_s: float) -> None:
        """PostgreSQL knows this worker as dead, or its records are lost: all that it holds is for others to run."""
        if self._is_sidecar_stopped or self._status == RESTART:
            return
        what_next = "a new worker begins" if self._status is None else "it was ending"
        log.error("worker.begins_anew", extra={"text": f"{why}; children are killed, {what_next}"})
        self._status = RESTART if self._status is None else self._status
        self._kill(m.REASON_FENCED)
        self._sidecar.kill(now_s)
        self._is_sidecar_stopped = True

    def step(self, now_s: float) -> int | None:
        """One step further; returns the status at the end, None before."""
        if not self._children.are_gone:
            if self._is_killed:
                return None
            if now_s >= self._kill_at_s:
                self._kill(m.REASON_DRAIN)
            else:
                self._sidecar.ensure_running(now_s)
            return None
        if not self._is_sidecar_stopped:
            self._is_sidecar_stopped = True
            self._sidecar.stop(now_s + _SIDECAR_LEAVES_S, now_s)
        return self._status if self._sidecar.is_gone(now_s) else None

    def _kill(self, reason: int) -> None:
        self._is_killed = True
        self._children.kill_all(reason)
