"""What the shared memory tells of one generation of a slot; a reader of a dead worker's bytes believes none unseen."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.leftovers import Leftovers
from supervisor.processes import UNKNOWN, cause
from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.layout import now_ns

_REASONS = {
    m.REASON_TIMEOUT: "timeout",
    m.REASON_CANCEL: "cancelled",
    m.REASON_MEMORY: "memory_limit",
    m.REASON_DRAIN: "drain",
    m.REASON_STALLED: "stalled",
    m.REASON_FENCED: "fenced",
}


_MAX_GENERATION = 2**31 - 1  # as PostgreSQL's integer
_MAX_STATUS = UNKNOWN + 1

# What holds in every record that was not damaged.
_POSSIBLE: dict[str, Callable[[Bank], bool]] = {
    "an impossible generation": lambda bank: (
        0 < bank.generation <= _MAX_GENERATION and bank.generation % m.BANKS == bank.number
    ),
    "an unknown phase": lambda bank: bank[m.B_PHASE] < len(m.PHASE_NAMES),
    "an impossible exit status": lambda bank: bank[m.B_DEATH] <= _MAX_STATUS,
    "an unknown reason of death": lambda bank: bank[m.B_DEATH_REASON] <= m.REASON_FENCED,
    "an impossible confirmation": lambda bank: bank[m.B_CONFIRMED] in (0, 1),
    "a journal longer than its room": lambda bank: bank[m.B_JOURNAL_END] <= m.JOURNAL_BYTES,
    "a running task without a name": lambda bank: (
        bank[m.B_PHASE] not in m.IN_TASK or None not in (bank.get_id(m.B_TASK), bank.get_id(m.B_TOKEN))
    ),
}


class RecordView:
    """What is known of one generation of a slot."""

    def __init__(
        self, bank: Bank, leftovers: Leftovers, is_of_this_boot: bool = True, was_stopping: bool = False
    ) -> None:
        self._bank = bank
        self._leftovers = leftovers
        self.slot = bank.slot
        self.is_of_this_boot = is_of_this_boot
        self._was_stopping = was_stopping

    @property
    def generation(self) -> int:
        return self._bank.generation

    @property
    def flaw(self) -> str | None:
        """What cannot be in such a record: none of it may be believed then. None if there is nothing."""
        bank = self._bank
        for what, is_possible in _POSSIBLE.items():
            if not is_possible(bank):
                return f"slot {bank.slot}: {what}"
        if self.is_of_this_boot and bank[m.B_STARTED] > now_ns():
            return f"slot {bank.slot}: a task that began in the future"
        return None

    @property
    def is_dead(self) -> bool:
        return self._bank.is_dead

    @property
    def is_unconfirmed(self) -> bool:
        return self._bank.is_unconfirmed

    @property
    def token(self) -> str | None:
        """The token under which it runs, or ran."""
        return self._bank.get_id(m.B_TOKEN)

    @property
    def running(self) -> str | None:
        """The task that it is running, or was running when it died."""
        in_task = self._bank[m.B_PHASE] in m.IN_TASK
        return self._bank.get_id(m.B_TASK) if in_task else None

    @property
    def is_spared(self) -> bool:
        """What an earlier task has left behind has ended the process, and not the one that was running."""
        return self.running is not None and self._bank.get_id(m.B_SPARED) == self.running

    @property
    def cause(self) -> str:
        """How it died: `signal:NAME`, `exit:STATUS`, `unknown`; `worker_lost` if nobody was there to reap it."""
        if not self._bank[m.B_DEATH]:
            return "worker_lost"
        return cause(self._bank[m.B_DEATH] - 1)

    @property
    def was_stopped(self) -> bool:
        """Its worker was lost on its way out, and this process with it: nobody was there to reap it."""
        return self._was_stopping and not self._bank[m.B_DEATH]

    @property
    def may_have_leftovers(self) -> bool:
        """It is dead, and did not leave in order: what its jobs have started is nobody's any more."""
        bank = self._bank
        left_in_order = bank[m.B_DEATH] == 1 and bank[m.B_PHASE] == m.PHASE_LEAVING
        return self.is_of_this_boot and bank.is_unconfirmed and not left_in_order

    def end_leftovers(self) -> int:
        """Kill what its jobs still have running; returns how many processes that were."""
        return self._leftovers.end(self.slot, self.generation) if self.may_have_leftovers else 0

    @property
    def death_reason(self) -> str:
        """Why the supervisor killed it; empty if it did not."""
        return _REASONS.get(self._bank[m.B_DEATH_REASON], "")

    @property
    def peak_rss_mb(self) -> float | None:
        kib = self._bank[m.B_DEATH_RSS_KIB]
        return kib / 1024 if kib else None

    @property
    def started_s(self) -> float:
        """When the task began, on the boot-time clock; now if that was before this boot."""
        return (self._bank[m.B_STARTED] if self.is_of_this_boot else now_ns()) / 1e9

    @property
    def runs_for_s(self) -> float:
        return (now_ns() - self._bank[m.B_STARTED]) / 1e9

    @property
    def is_waiting(self) -> bool:
        """It cannot do anything now, and knows it: a dependency is away."""
        return self._bank[m.B_PHASE] == m.PHASE_WAITING

    @property
    def silent_for_s(self) -> float:
        return (now_ns() - self._bank[m.B_TICK]) / 1e9

    @property
    def helper_silent_for_s(self) -> float:
        """How long its own helper thread has not looked after the batch; 0 without a batch."""
        last = self._bank[m.B_HELPER_TICK]
        return (now_ns() - last) / 1e9 if last else 0.0

    def journal_bytes(self) -> bytes:
        return self._bank.journal_bytes()

    def raw_bytes(self) -> bytes:
        """All of it, for somebody to look at later."""
        return bytes(self._bank.bytes) + bytes(self._bank.journal)

    def confirm(self) -> None:
        """Everything that it held is accounted for: the bank may be used again."""
        self._bank[m.B_CONFIRMED] = 1

    def cancel(self, job_id: str) -> None:
        """Have the supervisor stop this task."""
        self._bank.set_id(m.B_CANCEL, job_id)

    def announce_cancellations(self) -> None:
        """Have the child look which of the tasks that it holds are cancelled."""
        self._bank[m.B_CANCEL_SERIAL] += 1

    def revoke(self, token: str) -> None:
        """Tell the child that what it has not begun under this token is taken away."""
        self._bank.set_id(m.B_REVOKED, token)


def look_for_leftovers(leftovers: Leftovers, dead: list[RecordView]) -> None:
    """One look around is enough for all that are dead by now."""
    for record in dead:
        if record.may_have_leftovers:
            leftovers.add(record.slot, record.generation)
