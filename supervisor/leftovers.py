"""End what the jobs of a dead child have left running: in sessions of its own, reparented, forked twice.

Programs that a child starts carry its mark in their environment, copies that it forks carry it as a mapping
of a file of that name (a daemon closes its descriptors, but keeps its memory). The mark names worker, slot
and generation, so no worker of a host ends a process of another. Not found is a program that was started
with an empty environment and then left its parent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal

from taskhub.config import MARK

_ROUNDS = 3  # a process may fork while the others are looked at

_mapped: mmap.mmap | None = None  # for as long as this process lives


def mark_of(worker: str, slot: int, generation: int) -> str:
    return f"{worker}:{slot}:{generation}"


def bear(mark: str) -> None:
    """Have everything that this process starts from now on carry the mark."""
    global _mapped
    os.environ[MARK] = mark
    with contextlib.suppress(OSError):  # no descriptor to spare: the environment must do
        descriptor = os.memfd_create(_file_name(mark))
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            _mapped = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)


def end_all(mark: str) -> int:
    """SIGKILL every process that carries the mark; returns how many there were."""
    ended = 0
    for _ in range(_ROUNDS):
        found = sum(_end(int(name), mark) for name in os.listdir("/proc") if name.isdecimal())
        ended += found
        if not found:
            break
    return ended


def _end(pid: int, mark: str) -> bool:
    """True if it carried the mark. Between look and kill its number cannot become another's: a descriptor holds it."""
    if pid == os.getpid() or not _carries(pid, mark):
        return False
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        carries = _carries(pid, mark)
        if carries:
            signal.pidfd_send_signal(held, signal.SIGKILL)
        return carries
    except OSError:  # it is gone meanwhile
        return False
    finally:
        os.close(held)


def _carries(pid: int, mark: str) -> bool:
    name = _file_name(mark).encode()
    with contextlib.suppress(OSError):  # it is gone, or another user's
        if name in _read(f"/proc/{pid}/environ").split(b"\0"):
            return True
        if os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):  # a fork runs what we run
            return b"/memfd:" + name + b" " in _read(f"/proc/{pid}/maps")
    return False


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _file_name(mark: str) -> str:
    return f"{MARK}={mark}"
