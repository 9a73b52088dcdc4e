"""CPU time in nanoseconds, by role: children, sidecar, Redis, each session of PostgreSQL.

`/proc/<pid>/stat` counts in ticks of 10 ms, far too coarse for jobs of 20 us; `/proc/<pid>/task/*/schedstat` counts
in nanoseconds. A process is looked at now and then, so that one that ends meanwhile is missed by little.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_BACKEND_ROLES = "SELECT pid, backend_type, application_name FROM pg_stat_activity"
RoleOf = Callable[[], dict[int, str]]


class Meter:
    """What each role uses between `begin` and `spent`; `find` tells the processes of the moment and their roles."""

    def __init__(self, find: RoleOf) -> None:
        self._find = find
        self._roles: dict[int, str] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def begin(self) -> None:
        self._roles = self._find()
        self._first = {pid: cpu_ns(pid) for pid in self._roles}
        self._last = dict(self._first)

    def look(self) -> None:
        """Note how far each process has come; what is new counts from its birth."""
        self._roles = self._find() | self._roles
        for pid in self._roles:
            self._last[pid] = max(self._last.get(pid, 0), cpu_ns(pid))

    def spent(self) -> dict[str, float]:
        """Seconds by role."""
        self.look()
        used = dict.fromkeys(self._roles.values(), 0.0)
        for pid, role in self._roles.items():
            used[role] += (self._last[pid] - self._first.get(pid, 0)) / 1e9
        return used


def cpu_ns(pid: int) -> int:
    """Nanoseconds that the living threads of a process have run; 0 if it is gone."""
    total = 0
    for statistics in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(statistics.read_text().split()[0])
        except (OSError, IndexError):  # the thread has just ended
            continue
    return total


def children_of(pid: int) -> list[int]:
    """The child processes of a process, by whichever of its threads they were made."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, listed.read_text().split())
        except OSError:
            continue
    return found


def backends(execute: Callable[[str], list[tuple[int, str, str]]], postmaster: int) -> dict[int, str]:
    """PostgreSQL's processes: sessions by their application's name, the others by what they are."""
    named = {pid: name or kind for pid, kind, name in execute(_BACKEND_ROLES)}
    return {pid: f"postgres: {named.get(pid, 'other')}" for pid in children_of(postmaster)}
