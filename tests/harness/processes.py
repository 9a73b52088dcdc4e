"""What /proc says of processes."""

from __future__ import annotations

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
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid and fields[0] not in ("Z", "X"):
                found.append(int(entry.name))
    return sorted(found)


def is_stopped(pid: int) -> bool:
    """True if a signal has made the process stand still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def family_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid] + [member for child in children_of(pid) for member in family_of(child)]
