"""One worker whose supervisor and sidecar the test plays itself: real children, real memory, real rescue.

So an interleaving happens because the test makes it happen, and not because of some timing.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisor.processes import is_stopped, kill_group, spawn
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.shared.sidecar_link import SidecarLink
from supervisor.signals import Signals
from supervisor.slot import Slot
from supervisor.steps import Steps
from supervisor.watchdog import Watchdog
from taskhub import clock, ids, logs
from taskhub.broker.broker import Broker
from taskhub.child.program import run_child
from taskhub.events.teller import Teller
from taskhub.handlers import registry
from taskhub.maintenance.requeuer import PendingRequeues, Requeuer
from taskhub.settings.fields import Settings
from taskhub.sidecar.child_recovery import ChildRecovery
from taskhub.sidecar.predecessor_recovery import PredecessorRecovery
from taskhub.sidecar.record_recovery import RecordRecovery
from taskhub.store.connection import Connection
from tests.harness.isolating import isolation
from tests.harness.rows import run
from tests.waiting import wait_until

HANDLERS = "tests.harness.handlers,tests.harness.litter"
SLOTS = 8
MakeSettings = Callable[..., Settings]


@dataclass
class Actor:
    """A forked child and its bank of the shared memory."""

    slot: int
    generation: int
    pid: int
    bank: Bank

    def kill(self) -> None:
        kill_group(self.pid)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wait_stopped(self) -> None:
        """Wait until it stands still, as a failpoint makes it."""
        wait_until(lambda: is_stopped(self.pid), 10, f"the child of slot {self.slot} is stopped")

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait_phase(self, phase: int, deadline_s: float = 10) -> None:
        """Wait until it is in this phase."""
        wait_until(lambda: self.bank[m.B_PHASE] == phase, deadline_s, f"slot {self.slot} is {m.PHASE_NAMES[phase]}")


class PlayedWorker:
    """`folder` is the worker's state folder. Its children may claim and start until `forbid`."""

    def __init__(self, settings: MakeSettings, store: Connection, broker: Broker, folder: Path) -> None:
        self._settings = settings
        self._store = store
        self._broker = broker
        self._folder = folder
        self.memory = Memory.create(folder, ids.new_token(), SLOTS)
        self.worker = self.memory.worker
        self.memory.header[m.H_PEERS] = 1
        self.permit()
        self._wake, self._waker = os.pipe()
        self._actors: list[Actor] = []
        self._generations: dict[int, int] = {}
        self.requeues = PendingRequeues()
        self.requeuer = Requeuer(store, broker, self.requeues, isolation())
        self.recovery = self._child_recovery(self.memory)
        run(store, "register_worker", worker=self.worker, host="stage", pid=os.getpid(), version="test", queues=[])

    # The supervisor's part

    def child(self, slot: int = 0, **settings: object) -> Actor:
        """Fork a real child of the next generation; `settings` are its alone."""
        own = self._settings(handlers=HANDLERS, log_level="warning", **settings)
        generation = self._generations[slot] = self._generations.get(slot, 0) + 1
        bank = self.memory.bank(slot, generation)
        bank.begin(generation)
        link = ChildLink(self.memory, slot, generation)

        def live() -> int:
            link.arrive()
            faulthandler.disable()  # the test runner's: its word of a crash is meant for its own crashes
            self._redirect(slot)
            logs.configure(own)
            return run_child(own, registry.load(own.handlers), link)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the test's other threads are of no use to a child
            pid = spawn(live, Signals())
        bank[m.B_PID] = pid
        self._actors.append(Actor(slot, generation, pid, bank))
        return self._actors[-1]

    def reap(self, actor: Actor) -> int:
        """Wait for its end and write the death notice; returns the wait status."""
        wait_until(lambda: self._has_ended(actor), 15, f"the child of slot {actor.slot} ends\n{self.log(actor.slot)}")
        _, status, usage = os.wait4(actor.pid, 0)
        self._actors.remove(actor)
        actor.bank[m.B_DEATH_RSS_KIB] = usage.ru_maxrss
        actor.bank[m.B_DEATH] = status + 1
        return status

    def permit(self, for_s: float = 3600) -> None:
        """As after a heartbeat that PostgreSQL has taken: children may claim and start."""
        self.memory.header[m.H_VALID_UNTIL] = now_ns() + int(for_s * 1e9)

    def forbid(self) -> None:
        """As when no heartbeat was taken for too long."""
        self.memory.header[m.H_VALID_UNTIL] = 0

    def drain(self) -> None:
        self.memory.header[m.H_MODE] = m.MODE_DRAIN

    def slot_of(self, actor: Actor) -> Slot:
        return Slot(actor.slot, generation=actor.generation, pid=actor.pid, bank=actor.bank)

    def watchdog(self, **settings: object) -> Watchdog:
        return Watchdog(self._settings(**settings), Steps())

    def kill_if(self, watchdog: Watchdog, slot: Slot, still_applies: Callable[[], bool], reason: int) -> None:
        """Have the watchdog stop a child, and look at it as the supervisor does until it has decided."""
        watchdog._stop_to_check(slot, still_applies, reason, now_s())
        wait_until(lambda: watchdog.look([slot], now_s()) or slot.pending_kill is None, 5, "the watchdog has decided")

    # The sidecar's part

    def recover(self) -> None:
        """Account for every child that was reaped, and tell Redis."""
        self.recovery.step()
        self.requeuer.step()

    def successor(self) -> PredecessorRecovery:
        """The recovery of what was before it, by another, later worker of this state folder."""
        link = SidecarLink(Memory.create(self._folder, ids.new_token(), SLOTS), self._wake)
        return PredecessorRecovery(self._store, link, self._records(), isolation())

    def neighbour_link(self) -> SidecarLink:
        """The link of another worker's sidecar."""
        return SidecarLink(Memory.create(self._folder.with_name("neighbour"), ids.new_token(), 1), self._wake)

    def forget(self, actor: Actor) -> None:
        """A child that was reaped, and of whose end nobody is left to write."""
        self._actors.remove(actor)

    def lose(self) -> None:
        """Give up the lock of the memory, as the last process of a worker does by ending."""
        fcntl.lockf(self.memory.descriptor, fcntl.LOCK_UN, 1)

    # Ends

    def end(self) -> None:
        """No child outlives the stage."""
        for actor in list(self._actors):
            actor.kill()
            os.waitpid(actor.pid, 0)
        os.close(self._wake)
        os.close(self._waker)

    def log(self, slot: int) -> str:
        """What the children of a slot have printed."""
        return self._log(slot).read_text(errors="replace")[-2000:] if self._log(slot).exists() else ""

    def _log(self, slot: int) -> Path:
        return self._folder / f"slot-{slot}.log"

    def _redirect(self, slot: int) -> None:
        output = os.open(self._log(slot), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1)

    def _child_recovery(self, memory: Memory) -> ChildRecovery:
        link = SidecarLink(memory, self._wake)
        return ChildRecovery(self._store, link, self._records(), self.requeues, isolation())

    def _records(self) -> RecordRecovery:
        return RecordRecovery(self._store, self._settings(), self.requeues, Teller())

    def _has_ended(self, actor: Actor) -> bool:
        found = os.waitid(os.P_PID, actor.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None


def now_s() -> float:
    """The clock that guards are told."""
    return clock.monotonic_s()
