"""A running supervisor over dummy children, and what a test may say to them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.shared.file import Memory
from supervisor.shared.layout import B_PHASE, H_LONGEST_TURN_NS, PHASE_NAMES
from tests.harness.dummy import VARIABLE
from tests.harness.processes import alive, children_of
from tests.harness.programs import Program
from tests.waiting import wait_until

QUICK = {
    "TASKHUB_DRAIN_S": "0.2",
    "TASKHUB_INTERNAL_KILL_GRACE_S": "0.3",
    "TASKHUB_INTERNAL_STALL_S": "1.5",
    "TASKHUB_INTERNAL_BOOT_BACKOFF_S": "0.05",
    "TASKHUB_INTERNAL_BOOT_BACKOFF_CAP_S": "0.2",
}


class DummySupervisor(Program):
    """`python -m tests.harness.dummy`; it has no port, so it is ready when its children run."""

    def __init__(self, folder: Path, children: int = 2, **env: str) -> None:
        command = [sys.executable, "-m", "tests.harness.dummy"]
        own = {VARIABLE: str(folder), "TASKHUB_STATE_DIR": str(folder / "state")}
        super().__init__("dummy", command, {**QUICK, "TASKHUB_WORKER_PROCESSES": str(children), **own, **env}, folder)
        self._folder = folder
        self._wanted = children

    def order(self, slot: int, what: str) -> None:
        """Have one slot's children do something; takes effect at once."""
        scratch = self._folder / f"slot-{slot}.new"
        scratch.write_text(what)
        scratch.rename(self._folder / f"slot-{slot}")

    def wait_ready(self) -> None:
        wait_until(lambda: len(self.events("dummy.works")) >= self._wanted, 20, f"children run\n{self.tail()}")

    def members(self) -> dict[int, int]:
        """The living children by slot: the last that the log tells of each."""
        told = {int(event["slot"]): int(event["pid"]) for event in self.events("child.started")}
        return {slot: pid for slot, pid in told.items() if alive(pid)}

    def all_members(self) -> dict[int, int]:
        """The children, once every slot has one."""
        return wait_until(lambda: found if len(found := self.members()) >= self._wanted else None, 10, "all slots run")

    def member(self, slot: int) -> int:
        """The pid of one slot's child."""
        return wait_until(lambda: self.members().get(slot), 10, f"slot {slot} has a child")

    def replaced(self, slot: int, pid: int, deadline_s: float = 10) -> int:
        """Wait until a slot has another child than this; returns its pid."""
        return wait_until(
            lambda: next((new for at, new in self.members().items() if at == slot and new != pid), None),
            deadline_s,
            f"slot {slot} has another child than {pid}\n{self.tail()}",
        )

    @contextmanager
    def memory(self) -> Iterator[Memory | None]:
        """The shared memory; None while there is none yet."""
        paths = list((self._folder / "state").glob(f"worker-{'?' * 36}"))
        if not paths:
            yield None
            return
        descriptor = os.open(paths[0], os.O_RDWR)
        try:
            yield Memory(paths[0], descriptor)
        finally:
            os.close(descriptor)

    def phase(self, slot: int) -> str:
        """What a slot's child is doing; nothing if there is none yet."""
        with self.memory() as memory:
            banks = [bank for bank in memory.banks() if bank.slot == slot] if memory else []
            newest = max(banks, key=lambda bank: bank.generation, default=None)
            return PHASE_NAMES[newest[B_PHASE]] if newest is not None else ""

    def longest_turn_s(self) -> float:
        """The longest turn of the supervisor's loop of late."""
        with self.memory() as memory:
            return memory.header[H_LONGEST_TURN_NS] / 1e9 if memory else 0.0

    def make_fifo(self) -> None:
        """What a `stuck` child waits on."""
        (self._folder / "fifo").unlink(missing_ok=True)
        os.mkfifo(self._folder / "fifo")

    def run_in(self, *launcher: str) -> None:
        """Start the program through another one (a namespace's, for instance)."""
        self._argv = [*launcher, *self._argv]

    def supervisor(self) -> int:
        """The supervisor's pid, also behind a launcher that stays."""
        name = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")[0]
        return children_of(self.pid)[0] if name == b"unshare" else self.pid

    def descendants(self, pid: int) -> list[int]:
        """Children of a process, zombies included."""
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def sidecar(self) -> int:
        """The pid of the sidecar: the child that is in no slot."""

        def find() -> int | None:
            told = {int(event["pid"]) for event in self.events("child.started")}
            return next((pid for pid in self.children() if pid not in told), None)

        return wait_until(find, 10, "a sidecar runs")

    def exits(self, slot: int | None = None) -> list[str]:
        """How children ended, in order."""
        return [e["status"] for e in self.events("child.exited") if slot in (None, e["slot"])]

    def group_signal(self, number: signal.Signals) -> None:
        """A signal to the supervisor and every child, as a terminal or an init might send."""
        for pid in [*self.children(), self.pid]:
            os.kill(pid, number)


MakeDummies = Callable[..., DummySupervisor]


@pytest.fixture
def dummies(tmp_path: Path) -> Iterator[MakeDummies]:
    """Makes a dummies that is still to be started: `with dummies() as running:`."""
    made: list[DummySupervisor] = []

    def make(children: int = 2, **env: str) -> DummySupervisor:
        made.append(DummySupervisor(tmp_path, children, **env))
        return made[-1]

    yield make
    for program in made:
        program.end()
