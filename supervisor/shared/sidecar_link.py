"""The sidecar's view of the shared memory: the record of every generation, and the words to and from the supervisor."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from supervisor.leftovers import Leftovers
from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from supervisor.shared.predecessor_records import PredecessorRecords
from supervisor.shared.predecessors import Predecessor, keep_bytes, names_a_worker, older_files, remove_unfinished
from supervisor.shared.records import RecordView, look_for_leftovers
from taskhub.logs import get_logger

log = get_logger(__name__)


class SidecarLink:
    """This worker's own memory as its sidecar sees it. Made before the fork, used after it."""

    def __init__(self, memory: Memory, wake_descriptor: int, outputs: Mapping[int, int] = MappingProxyType({})) -> None:
        self._memory = memory
        self.worker = memory.worker
        self._header = memory.header
        self._wake = wake_descriptor
        self.outputs = outputs
        self._parent = os.getpid()
        self._stuck: set[Path] = set()
        self._leftovers: dict[str, Leftovers] = {}

    def all(self) -> Iterator[RecordView]:
        leftovers = self._leftovers_of(self.worker)
        records = [RecordView(bank, leftovers) for bank in self._memory.banks()]
        look_for_leftovers(leftovers, [record for record in records if record.is_dead])
        yield from records

    def latest_task(self, slot: int) -> str | None:
        """The task that a slot's present child runs, or ran last."""
        banks = [self._memory.bank(slot, generation) for generation in range(m.BANKS)]
        return max(banks, key=lambda bank: bank.generation).get_id(m.B_TASK)

    def _leftovers_of(self, worker: str) -> Leftovers:
        return self._leftovers.setdefault(worker, Leftovers(worker))

    def remove(self) -> None:
        self._memory.remove()

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
    def longest_turn_s(self) -> float:
        """The longest turn of the supervisor's loop of late."""
        return self._header[m.H_LONGEST_TURN_NS] / 1e9

    @property
    def failed_steps(self) -> int:
        """Steps of the supervisor's turns that failed unexpectedly since it began."""
        return self._header[m.H_STEP_FAILURES]

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

    @property
    def sidecar_restarts(self) -> int:
        return self._header[m.H_SIDECAR_RESTARTS]

    @property
    def hung_role(self) -> int:
        """1 + the number of the role whose standing still ended the last sidecar; 0 if none did."""
        return self._header[m.H_HUNG_ROLE]

    def should_run(self) -> bool:
        """False once the children are all gone and this process is to leave too."""
        return not self._header[m.H_SIDECAR_STOP_BY] and os.getppid() == self._parent

    def has_time_left(self) -> bool:
        """True while leaving and not late."""
        return now_ns() < self._header[m.H_SIDECAR_STOP_BY] and os.getppid() == self._parent

    def tick(self) -> None:
        self._header[m.H_SIDECAR_TICK] = now_ns()

    def extend_validity(self, until_s: float) -> None:
        """Children may claim and start until then (boot-time seconds)."""
        self._header[m.H_VALID_UNTIL] = int(until_s * 1e9)

    def fence(self) -> None:
        """PostgreSQL says that this worker was declared dead: nothing may start, the supervisor restarts."""
        self._header[m.H_VALID_UNTIL] = 0
        self._header[m.H_FENCED] = 1

    def set_peers(self, children: int) -> None:
        self._header[m.H_PEERS] = children

    def set_aside(self, slot: int, content: bytes, reason: str) -> None:
        """Keep the bytes of a record that nobody understands."""
        keep_bytes(self._memory.path, f"slot-{slot}", content, reason)

    def set_hung_role(self, number: int) -> None:
        self._header[m.H_HUNG_ROLE] = number

    def wait(self, timeout_s: float) -> None:
        """Sleep at most so long; the supervisor's word of a death ends it."""
        poller = select.poll()  # not select: the descriptor's number may be large
        poller.register(self._wake, select.POLLIN)
        if poller.poll(timeout_s * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)

    def predecessors(self) -> Iterator[PredecessorRecords]:
        """Older workers of this state folder whose processes are all gone. One thread at a time."""
        folder = self._memory.path.parent
        remove_unfinished(folder)
        for path in older_files(folder, self.worker):
            predecessor = Predecessor.take(path) if path not in self._stuck else None
            if predecessor is None:
                continue
            records = PredecessorRecords(predecessor, self._leftovers_of(predecessor.worker))
            try:
                if names_a_worker(path):
                    yield records
                else:
                    records.remove()
            finally:
                predecessor.release()
            if records.is_stuck:
                self._stuck.add(path)
