"""The sidecar's view of the shared memory: the record of every generation, and the words to and from the supervisor."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

from supervisor import memory as m
from supervisor.memory import Bank, Memory, now_ns, older_files
from taskhub import clock

_REASONS = {
    m.REASON_TIMEOUT: "timeout",
    m.REASON_CANCEL: "cancelled",
    m.REASON_MEMORY: "memory_limit",
    m.REASON_DRAIN: "drain",
    m.REASON_STALLED: "stalled",
    m.REASON_FENCED: "fenced",
}


class RecordView:
    """What is known of one generation of a slot."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.slot = bank.slot

    @property
    def generation(self) -> int:
        return self._bank.generation

    @property
    def is_dead(self) -> bool:
        return self._bank.is_dead

    @property
    def is_owed(self) -> bool:
        return self._bank.is_owed

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
    def cause(self) -> str:
        """How it died: `signal:NAME`, `exit:STATUS`; `worker_lost` if nobody was there to reap it."""
        if not self._bank[m.B_DEATH]:
            return "worker_lost"
        status = self._bank[m.B_DEATH] - 1
        if os.WIFSIGNALED(status):
            return f"signal:{signal.Signals(os.WTERMSIG(status)).name}"
        return f"exit:{os.WEXITSTATUS(status)}"

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
        """When the task began, on the boot-time clock."""
        return self._bank[m.B_STARTED] / 1e9

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
    def unrelieved_for_s(self) -> float:
        """How long its own relief thread has not looked after the batch; 0 without a batch."""
        last = self._bank[m.B_RELIEVED]
        return (now_ns() - last) / 1e9 if last else 0.0

    def journal_bytes(self) -> bytes:
        return self._bank.journal_bytes()

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


class RecordsView:
    """The records in one worker's memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.worker = memory.worker

    def all(self) -> Iterator[RecordView]:
        for bank in self._memory.banks():
            yield RecordView(bank)

    def remove(self) -> None:
        self._memory.remove()


class SidecarWatch(RecordsView):
    """This worker's own memory as its sidecar sees it. Made before the fork, used after it."""

    def __init__(self, memory: Memory, wake_descriptor: int) -> None:
        super().__init__(memory)
        self._header = memory.header
        self._wake = wake_descriptor
        self._parent = os.getpid()

    @property
    def host_pid(self) -> int:
        return self._parent

    @property
    def is_draining(self) -> bool:
        return self._header[m.H_MODE] == m.MODE_DRAIN

    @property
    def is_quiet(self) -> bool:
        return self._header[m.H_MODE] == m.MODE_QUIET

    @property
    def parent_silent_for_s(self) -> float:
        return (now_ns() - self._header[m.H_PARENT_TICK]) / 1e9

    @property
    def wanted_slots(self) -> int:
        return self._header[m.H_SLOTS]

    @property
    def children_in_backoff(self) -> int:
        return self._header[m.H_BACKOFF]

    @property
    def is_registered(self) -> bool:
        """PostgreSQL knows this worker: not before its first heartbeat, nor once it was declared dead."""
        return bool(self._header[m.H_VALID_UNTIL])

    @property
    def is_fenced(self) -> bool:
        return bool(self._header[m.H_FENCED])

    def is_wanted(self) -> bool:
        """False once the children are all gone and this process is to leave too."""
        return not self._header[m.H_LEAVE_BY] and os.getppid() == self._parent

    def has_time_left(self) -> bool:
        """True while leaving and not late."""
        return now_ns() < self._header[m.H_LEAVE_BY] and os.getppid() == self._parent

    def tick(self) -> None:
        self._header[m.H_SIDECAR_TICK] = now_ns()

    def extend_validity(self, until_s: float) -> None:
        """Children may claim and start until then (boot-time seconds)."""
        self._header[m.H_VALID_UNTIL] = int(until_s * 1e9)

    def fence(self) -> None:
        """PostgreSQL says that this worker was declared dead: nothing may start, the supervisor begins anew."""
        self._header[m.H_VALID_UNTIL] = 0
        self._header[m.H_FENCED] = 1

    def set_peers(self, children: int) -> None:
        self._header[m.H_PEERS] = children

    def set_port(self, port: int) -> None:
        self._header[m.H_HTTP_PORT] = port

    def wait(self, timeout_s: float) -> None:
        """Sleep at most so long; the supervisor's word of a death ends it."""
        self.tick()
        ready, _, _ = select.select([self._wake], [], [], timeout_s)
        if ready:
            os.read(self._wake, 4096)

    def nap(self, timeout_s: float) -> None:
        """Sleep, for the other threads."""
        clock.sleep(timeout_s)

    def older(self) -> Iterator[RecordsView]:
        """Older workers of this state folder whose processes are all gone."""
        for path in older_files(self._memory.path.parent, self.worker):
            memory = Memory.inherit(path)
            if memory is not None:
                try:
                    yield RecordsView(memory)
                finally:
                    memory.release()
