"""Import the handler modules in a process that is thrown away, and report what each of them leaves behind.

What is open when a process forks is shared by all its children: two of them reading answers from one
socket get each other's. So a module that opens something, starts something or changes its process while it is
imported is not for the supervisor to import, but for each child.

The report is lines of JSON in a file in memory, one a module; while a module is being imported the last line
says so in words, so that it is known even when the module ends the process.
"""

from __future__ import annotations

import gc
import json
import mmap
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from taskhub import clock
from taskhub.handlers import registry
from taskhub.handlers.surroundings import Surroundings

WELL = 87  # exit status: the trial came to its end; 0 is what a module's own exit may give
FAILED = 1


@dataclass(frozen=True)
class Report:
    """What a trial found."""

    seconds: float = 0.0
    left_behind: tuple[tuple[str, tuple[str, ...]], ...] = ()  # modules, each with what it left
    types: tuple[tuple[str, str], ...] = ()  # queue and type of every handler

    @classmethod
    def read(cls, data: bytes) -> Report:
        """From what `run` wrote. Raises ValueError if that is not whole."""
        lines = [json.loads(line) for line in data.decode("utf-8").splitlines()]
        if not lines or "types" not in lines[-1]:
            raise ValueError("the trial's report is not whole")
        *modules, end = lines
        return cls(
            sum(module["seconds"] for module in modules),
            tuple((module["module"], tuple(module["left"])) for module in modules if module["left"]),
            tuple((queue, job_type) for queue, job_type in end["types"]),
        )


class _Writer:
    """Writes through a mapping: a module may close every descriptor that it finds."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, 0)
        self._end = 0

    def doing(self, text: str) -> None:
        """What is being done; the next line takes its place."""
        data = " ".join(text.split()).encode("utf-8", "backslashreplace")[: len(self._map) - self._end]
        self._map[self._end :] = data.ljust(len(self._map) - self._end, b"\0")

    def line(self, value: object) -> None:
        self.doing(json.dumps(value))
        self._end = self._map.find(b"\0", self._end)
        self._map[self._end : self._end + 1] = b"\n"
        self._end += 1


def run(modules: Iterable[str], descriptor: int) -> int:
    """Import the modules, the built-in one first, and report into the file; returns the exit status."""
    report = _Writer(descriptor)
    for module in (registry.BUILT_IN, *modules):
        report.doing(f"importing handler module {module!r} (TASKHUB_HANDLERS)")
        before, began_s = Surroundings.now(), clock.monotonic_s()
        try:
            registry.import_module(module)
        except registry.HandlerError as error:
            print(error, file=sys.stderr)
            report.doing(str(error))
            return FAILED
        seconds = clock.monotonic_s() - began_s
        gc.collect()  # as the supervisor does before it forks
        report.line({"module": module, "seconds": seconds, "left": before.left_behind()})
    report.line({"types": [(handler.queue, handler.type) for handler in registry.registry.handlers()]})
    return WELL
