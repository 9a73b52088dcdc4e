"""The children by slot: fork what is missing, reap what has ended, add and take away slots, kill them all.

Each is one step of one turn; none waits for a child.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from supervisor.output_pipes import OutputPipes
from supervisor.processes import (
    SHORTAGE,
    Ended,
    cause,
    is_shortage,
    kill_group,
    kill_leftovers,
    reap,
    spawn,
)
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.layout import BANKS, MAX_SLOTS
from supervisor.shared.sidecar_link import SidecarLink
from supervisor.signals import Signals
from supervisor.slot import BOOT_DEATHS_LIMIT, Slot
from taskhub import clock
from taskhub.logs import get_logger
from taskhub.settings.timers import Timers

log = get_logger(__name__)

UNKILLABLE_S = 5.0  # so long after SIGKILL, a child is stuck in a system call: nothing waits for it any more


class Programs(NamedTuple):
    """What the forked processes run; each returns its exit status."""

    child: Callable[[ChildLink], int]
    sidecar: Callable[[SidecarLink], int]
    boot_s: float = 0.0  # a child may be silent for so long at its beginning: it imports what it runs


class Children:
    """All slots of one worker. `wake` tells the sidecar that there is a death notice to read."""

    def __init__(
        self,
        shared: Memory,
        programs: Programs,
        signals: Signals,
        timers: Timers,
        outputs: OutputPipes,
        wake: Callable[[], None],
    ) -> None:
        self._memory = shared
        self._programs = programs
        self._signals = signals
        self._timers = timers
        self._outputs = outputs
        self._wake = wake
        self.slots: list[Slot] = []

    def begin(self, wanted: int, *, is_continued: bool) -> None:
        """Fresh slots; after a re-execution of the supervisor, with the children that were there before."""
        wanted = self._with_room(wanted)
        self._memory.header[m.H_SLOTS] = wanted
        if not is_continued:
            self.slots = [Slot(number) for number in range(wanted)]
        else:
            self._adopt(wanted)
        for slot in self.slots:  # all before the sidecar begins, which reads them
            self._outputs.prepare(slot.number, wanted)

    def _adopt(self, wanted: int) -> None:
        used = max(wanted, self._memory.header[m.H_USED_SLOTS])
        found = [self._adopted(number) for number in range(used)]
        for slot in found[wanted:]:
            _retire(slot)
        self.slots = found[:wanted] + [slot for slot in found[wanted:] if slot.pid is not None]

    @property
    def pids(self) -> list[int]:
        return [slot.pid for slot in self.slots if slot.pid is not None]

    @property
    def running(self) -> int:
        """How many are in the midst of a task."""
        return sum(1 for slot in self.slots if slot.bank is not None and slot.bank[m.B_PHASE] in m.IN_TASK)

    @property
    def are_settled(self) -> bool:
        """The watchdog has no kill pending."""
        return all(slot.pending_kill is None for slot in self.slots)

    @property
    def are_gone(self) -> bool:
        """Every child was reaped, but for those that even SIGKILL cannot end: they do nothing any more either."""
        return all(slot.pid is None or slot.is_unkillable for slot in self.slots)

    @property
    def are_recorded(self) -> bool:
        """Each one's bank says whose it is; not once somebody else has written into the file."""
        return all(slot.bank is None or slot.bank.generation == slot.generation for slot in self.slots)

    @property
    def are_crash_looping(self) -> bool:
        return all(slot.boot_deaths >= BOOT_DEATHS_LIMIT and not _has_worked(slot.bank) for slot in self.slots)

    def reap(self, slot: Slot) -> None:
        """See whether this slot's child has ended."""
        if slot.pid is None:
            return
        ended = reap(slot.pid)
        if ended is not None:
            self._died(slot, slot.pid, ended)
        elif slot.killed_at_s is not None and not slot.is_unkillable:
            slot.is_unkillable = clock.monotonic_s() - slot.killed_at_s >= UNKILLABLE_S
            if slot.is_unkillable:
                text = "SIGKILL does not end it: it is stuck in a system call"
                log.error("child.unkillable", extra={"slot": slot.number, "pid": slot.pid, "text": text})

    def forget_surplus(self) -> None:
        self.slots = [slot for slot in self.slots if slot.pid is not None or not slot.is_surplus]

    def kill_all(self, reason: int) -> None:
        """What they held is given back once they are reaped, never before."""
        for slot in self.slots:
            if slot.pid is not None and slot.bank is not None:
                slot.bank[m.B_DEATH_REASON] = reason
                slot.killed(clock.monotonic_s())
                kill_group(slot.pid)

    def _died(self, slot: Slot, pid: int, ended: Ended) -> None:
        """Write the death notice: from here on the sidecar answers for what the child held."""
        bank, timers = slot.bank, self._timers
        assert bank is not None
        kill_leftovers(pid)
        bank[m.B_DEATH_RSS_KIB] = ended.peak_rss_kib
        bank[m.B_DEATH] = ended.status + 1
        cause_of_end = cause(ended.status)
        now_s, backoff = clock.monotonic_s(), (timers.boot_backoff_s, timers.boot_backoff_cap_s)
        had_worked = _has_worked(bank)
        if cause_of_end == f"exit:{SHORTAGE}" and not had_worked:
            slot.postponed(now_s, *backoff)
        else:
            slot.died(had_worked, ended.status == 0 and bank[m.B_PHASE] == m.PHASE_LEAVING, now_s, *backoff)
        self._wake()
        fields = {
            "slot": slot.number,
            "pid": pid,
            "status": cause_of_end.removeprefix("signal:").replace(":", " "),
            "job_id": bank.get_id(m.B_TASK) if bank[m.B_PHASE] in m.IN_TASK else None,
            "peak_rss_mb": round(ended.peak_rss_kib / 1024),
        }
        fields["text"] = f"child {slot.number} has ended: {fields['status']}"
        log.log(20 if ended.status == 0 else 30, "child.exited", extra=fields)

    def start(self, slot: Slot, now_s: float) -> None:
        """Fork this slot's child if it is missing, and its time has come."""
        if slot.is_surplus or not slot.may_fork(now_s):
            return
        bank = self._memory.bank(slot.number, slot.generation + 1)
        if bank.is_unconfirmed:  # the sidecar has still to account for the generation before the last
            return
        slot.generation += 1
        slot.bank = bank
        bank.begin(slot.generation)
        bank[m.B_TICK] += int(self._programs.boot_s * 1e9)  # in the future: silent on purpose until then
        self._outputs.prepare(slot.number, len(self.slots))
        link = ChildLink(self._memory, slot.number, slot.generation)
        try:
            slot.pid = spawn(lambda: self._run(link), self._signals)
        except Exception as error:  # noqa: BLE001 (logged, and the slot waits)
            self._not_forked(slot, bank, error)
            return
        bank[m.B_PID] = slot.pid
        slot.forked_at_s = now_s
        fields = {"slot": slot.number, "pid": slot.pid, "generation": slot.generation}
        log.info("child.started", extra=fields | {"text": f"child {slot.number} begins"})

    def _run(self, link: ChildLink) -> int:
        self._outputs.redirect(link.slot)
        link.arrive()
        return self._programs.child(link)

    def _not_forked(self, slot: Slot, bank: Bank, error: Exception) -> None:
        bank[m.B_CONFIRMED] = 1
        cap_s = self._timers.boot_backoff_cap_s
        if is_shortage(error):
            slot.postponed(clock.monotonic_s(), 1.0, cap_s)
        else:
            slot.died(False, False, clock.monotonic_s(), 1.0, cap_s)
        log.warning("child.unforked", extra={"slot": slot.number, "text": f"{type(error).__name__}: {error}"})

    def resize(self, by: int) -> None:
        if by > 0 and len(self.slots) < MAX_SLOTS:
            taken = {slot.number for slot in self.slots}
            number = next(number for number in range(MAX_SLOTS) if number not in taken)
            if self._with_room(number + 1) > number:
                self.slots.append(self._fresh(number))
        elif by < 0 and sum(1 for slot in self.slots if not slot.is_surplus) > 1:
            _retire([slot for slot in self.slots if not slot.is_surplus][-1])
        self._memory.header[m.H_SLOTS] = sum(1 for slot in self.slots if not slot.is_surplus)
        slots = self._memory.header[m.H_SLOTS]
        log.info("worker.resized", extra={"slots": slots, "text": f"{slots} children from now on"})

    def _with_room(self, slots: int) -> int:
        """So many slots, or as many as the state file has room for."""
        try:
            self._memory.allocate(slots)
        except OSError as error:
            text = f"TASKHUB_STATE_DIR has no room for {slots} slots: {error.strerror}"
            log.warning("worker.no_room", extra={"slots": self._memory.allocated, "text": text})
        return min(slots, self._memory.allocated)

    def _fresh(self, number: int) -> Slot:
        """A slot that may have been used before: its generations go on counting."""
        slot = self._adopted(number)
        slot.pid, slot.is_old_code = None, False
        return slot

    def _adopted(self, number: int) -> Slot:
        banks = [self._memory.bank(number, generation) for generation in range(BANKS)]
        newest = max(banks, key=lambda bank: bank.generation)
        is_alive = newest.generation != 0 and not newest.is_dead and not newest[m.B_CONFIRMED]
        return Slot(
            number,
            generation=newest.generation,
            pid=newest[m.B_PID] or None if is_alive else None,
            bank=newest if newest.generation else None,
            is_old_code=is_alive,
        )


def _has_worked(bank: Bank | None) -> bool:
    return bank is not None and (bool(bank[m.B_TASKS_DONE]) or bank[m.B_PHASE] in m.IN_TASK)


def _retire(slot: Slot) -> None:
    slot.is_surplus = True
    if slot.bank is not None:
        slot.bank[m.B_DRAIN] = 1
