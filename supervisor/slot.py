"""What the supervisor knows of one slot: its present child, and when the next may be forked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.shared.banks import Bank

BOOT_DEATHS_LIMIT = 5


@dataclass(frozen=True)
class PendingKill:
    """A child that got SIGSTOP, and is killed once it has stopped, if the reason still applies then."""

    still_applies: Callable[[], bool]
    reason: int
    since_s: float


@dataclass
class Slot:
    """One stable place for children, one at a time. `bank` is the present (or last) generation's.

    A child runs; is asked to end its task; has a kill pending (SIGSTOP was sent); then is continued, or killed;
    is reaped. One such step a turn: nothing here waits.
    """

    number: int
    generation: int = 0
    pid: int | None = None
    bank: Bank | None = None
    is_old_code: bool = False
    is_surplus: bool = False  # the operator wants fewer: gone once its child is
    boot_deaths: int = 0
    waits: int = 0  # before a fork, one longer than the other
    forked_at_s: float = 0.0
    fork_at_s: float = 0.0
    interrupted: tuple[bytes, int] | None = None  # the task that was asked to end, and its start
    interrupted_at_s: float = 0.0
    pending_kill: PendingKill | None = None
    killed_at_s: float | None = None
    is_unkillable: bool = False

    def killed(self, now_s: float) -> None:
        """SIGKILL was sent: all that is left to do is to reap it."""
        self.pending_kill = None
        if self.killed_at_s is None:
            self.killed_at_s = now_s

    def died(self, had_worked: bool, was_orderly: bool, now_s: float, base_s: float, cap_s: float) -> None:
        """The child was reaped: decide when the next is forked.

        At once if it had worked, or left in order; else after a wait that doubles with every such
        death in a row. A child that lived longer than the longest wait begins a new row.
        """
        self._is_gone()
        if had_worked or was_orderly or now_s - self.forked_at_s > cap_s:
            self.boot_deaths = self.waits = 0
        if had_worked or was_orderly:
            self.fork_at_s = now_s
            return
        self.boot_deaths += 1
        self._wait(now_s, base_s, cap_s)

    def postponed(self, now_s: float, base_s: float, cap_s: float) -> None:
        """No child could begin for want of descriptors, memory or processes: a wait, and no death."""
        self._is_gone()
        self._wait(now_s, base_s, cap_s)

    def _is_gone(self) -> None:
        self.pid = self.interrupted = self.pending_kill = self.killed_at_s = None
        self.is_old_code = self.is_unkillable = False

    def _wait(self, now_s: float, base_s: float, cap_s: float) -> None:
        self.waits += 1
        self.fork_at_s = now_s + boot_backoff_s(self.waits, base_s, cap_s)

    def is_in_backoff(self, now_s: float) -> bool:
        return self.pid is None and self.fork_at_s > now_s

    def may_fork(self, now_s: float) -> bool:
        return self.pid is None and self.fork_at_s <= now_s


def boot_backoff_s(deaths: int, base_s: float, cap_s: float) -> float:
    """Seconds to wait after so many deaths in a row before a first job.

    >>> [boot_backoff_s(n, 0.5, 30) for n in (1, 2, 3, 9)]
    [0.5, 1.0, 2.0, 30.0]
    """
    return float(min(cap_s, base_s * 2 ** min(deaths - 1, 16)))
