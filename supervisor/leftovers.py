"""End what the jobs of a dead child have left running: in sessions of its own, reparented, forked twice.

Programs that a child starts carry its mark in their environment, copies that it forks carry it as a mapping
of a file of that name (a daemon closes its descriptors, but keeps its memory). The mark names worker, slot
and generation, so no worker of a host ends a process of another. A program that was started with another
environment is found as long as its parent lives: so the supervisor looks for descendants before it kills a child.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import select
import signal
from collections import Counter
from collections.abc import Collection

from taskhub import clock
from taskhub.settings.stray_names import MARK

_MARKED = MARK.encode() + rb"=([0-9a-f-]+:[0-9]+:[0-9]+)"
_REMEMBERED = 1024  # more than there can be dead at a time
_MOST_DESCENDANTS = 256  # the supervisor's loop waits for this
_AT_ONCE = 64
_ENDING_S = 1.0
_DYING_S = 0.5  # from the signal on, however long the look has taken

_mapped: mmap.mmap | None = None  # for as long as this process lives


def mark_of(worker: str, slot: int, generation: int) -> str:
    return f"{worker}:{slot}:{generation}"


def mark_descendants(mark: str) -> None:
    """Have everything that this process starts from now on carry the mark, and not one that it was started with."""
    global _mapped
    os.environ[MARK] = mark
    with contextlib.suppress(OSError):  # no descriptor to spare: the environment must do
        descriptor = os.memfd_create(_file_name(mark))
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            _mapped = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)


class Leftovers:
    """Of dead children of one worker: one look around ends those of all that are known, and is not repeated."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._wanted: set[str] = set()
        self._ended: dict[str, int] = {}

    def add(self, slot: int, generation: int) -> None:
        """This child is dead."""
        self._wanted.add(mark_of(self._worker, slot, generation))

    def end(self, slot: int, generation: int) -> int:
        """See to it that nothing of a dead child is left; returns how many processes there were, once."""
        self.add(slot, generation)
        new = self._wanted - self._ended.keys()
        if new:
            self._ended |= dict.fromkeys(new, 0) | end_all(new)
            self._wanted.clear()
            for mark in list(self._ended)[:-_REMEMBERED]:
                del self._ended[mark]
        mark = mark_of(self._worker, slot, generation)
        count, self._ended[mark] = self._ended[mark], 0
        return count


def end_all(marks: Collection[str]) -> Counter[str]:
    """SIGKILL every process that carries one of the marks, and see it dead; returns how many there were of each."""
    ended: Counter[str] = Counter()
    until_s = clock.monotonic_s() + _ENDING_S
    while clock.monotonic_s() < until_s:  # one may fork while the others are looked at
        killed = _kill_some(marks)
        ended += Counter(killed.values())
        _await_ends(list(killed), max(until_s, clock.monotonic_s() + _DYING_S))  # on a busy machine a look takes long
        if not killed:
            break
    return ended


def descendants(pid: int) -> list[int]:
    """The processes below a child that is about to be killed, also in sessions of their own; a bounded number."""
    found = [pid]
    for parent in found:
        if len(found) > _MOST_DESCENDANTS:
            break
        with contextlib.suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                found += map(int, _read(f"/proc/{parent}/task/{thread}/children").split())
    return found[1:]


def _kill_some(marks: Collection[str]) -> dict[int, str]:
    """As many as we want to hold at a time: a descriptor of each, and its mark."""
    killed: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := _kill(int(name), marks)):
            killed.update([found])
        if len(killed) >= _AT_ONCE:
            break
    return killed


def _kill(pid: int, marks: Collection[str]) -> tuple[int, str] | None:
    """Between look and kill its number cannot become another's: the descriptor holds it."""
    if pid == os.getpid() or _carried(pid) not in marks:
        return None
    try:
        held = os.pidfd_open(pid)
    except OSError:  # it is gone meanwhile
        return None
    with contextlib.suppress(OSError):
        mark = _carried(pid)
        if mark is not None and mark in marks:
            signal.pidfd_send_signal(held, signal.SIGKILL)
            return held, mark
    os.close(held)
    return None


def _await_ends(held: list[int], until_s: float) -> None:
    """A signal is only sent: until it is scheduled, a process may do one thing more, and has its ports."""
    try:
        for descriptor in held:
            end = select.poll()
            end.register(descriptor, select.POLLIN)
            end.poll(max(0.0, until_s - clock.monotonic_s()) * 1000)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _carried(pid: int) -> str | None:
    """The mark of a process, if it carries one."""
    with contextlib.suppress(OSError):  # it is gone, or another user's
        text = b"\0" + _read(f"/proc/{pid}/environ")
        found = re.search(rb"\0" + _MARKED + rb"\0", text)
        if found is None and os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):  # as a fork does
            found = re.search(rb"/memfd:" + _MARKED + rb" ", _read(f"/proc/{pid}/maps"))
        return found[1].decode() if found else None
    return None


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _file_name(mark: str) -> str:
    return f"{MARK}={mark}"
