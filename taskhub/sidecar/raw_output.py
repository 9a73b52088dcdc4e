"""What children write to the descriptors 1 and 2 themselves, as `job.output`: read from their slots' pipes.

A writer whose pipe is full waits until it is read, so this never waits for anything else: no server, no lock,
and for the log's reader not longer than a tenth of a second.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Mapping
from typing import Any

from taskhub import clock
from taskhub.logs.raw_lines import RawLines

EVERY_S = 0.01  # between two readings: a flood does not take the whole process
_WAIT_S = 0.25
_READ_BYTES = 64 * 1024
_READS = 4  # of one slot before the others have their turn
_LAST_ROUNDS = 64  # of what was written before the end


class RawOutput:
    """readers: a descriptor by slot, none of which blocks. task: which job a slot runs, or ran last."""

    def __init__(
        self, readers: Mapping[int, int], task: Callable[[int], str | None], *, wait_s: float = _WAIT_S
    ) -> None:
        self._task = task
        self._wait_ms = wait_s * 1000
        self._slots = {descriptor: slot for slot, descriptor in readers.items()}
        self._lines = {slot: RawLines() for slot in readers}
        self._poller = select.poll()
        for descriptor in self._slots:
            self._poller.register(descriptor, select.POLLIN)

    def step(self) -> None:
        """Wait a moment for something to come, tell it, and tell what has no end and will not get one."""
        self._read(self._wait_ms)
        now_s = clock.monotonic_s()
        for lines in self._lines.values():
            lines.look(now_s)

    def drain(self) -> bool:
        """The children are gone: tell what they have left."""
        for _ in range(_LAST_ROUNDS):
            if not self._read(0):
                break
        for lines in self._lines.values():
            lines.end()
        return True

    def _read(self, wait_ms: float) -> bool:
        ready = self._poller.poll(wait_ms)
        for descriptor, _ in ready:
            self._read_slot(descriptor, self._slots[descriptor])
        return bool(ready)

    def _read_slot(self, descriptor: int, slot: int) -> None:
        task = self._task(slot)
        fields: dict[str, Any] = {"slot": slot} if task is None else {"slot": slot, "job_id": task}
        with contextlib.suppress(BlockingIOError):
            for _ in range(_READS):
                data = os.read(descriptor, _READ_BYTES)
                self._lines[slot].add(data, fields, clock.monotonic_s())
                if len(data) < _READ_BYTES:
                    return
