"""What /proc says of processes. It is asked many times in a wait, so it reads no more than it must."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def alive(pid: int) -> bool:
    """True while a process runs that is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def children_of(pid: int) -> list[int]:
    """The pids of a process's children, zombies left out."""
    found: list[str] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found += (thread / "children").read_text().split()
    return sorted(child for child in map(int, found) if alive(child))


def is_stopped(pid: int) -> bool:
    """True if a signal has made the process stand still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def family_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    children, family = _children_of_all(), [pid]
    for member in family:
        family += sorted(children.get(member, []))
    return family


def _children_of_all() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                state, parent = os.read(descriptor, 4096).rpartition(b")")[2].split()[:2]
            except ProcessLookupError:
                continue
            finally:
                os.close(descriptor)
            if state not in (b"Z", b"X"):
                found.setdefault(int(parent), []).append(int(name))
    return found
