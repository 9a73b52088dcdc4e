"""The memory of a worker's processes, as the kernel tells it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import cpu

_KIB = 1024


class Use(NamedTuple):
    """MiB. A page that is shared counts in each process by its share."""

    all: float
    supervisor: float
    sidecar: float
    child: float  # the mean of them
    child_private: float  # what no other process has


def use_of(supervisor: int, consumers: Iterable[int]) -> Use:
    """What a worker's processes take now. `consumers` are its children; what else it has started is its sidecar."""
    children = [_rollup(pid) for pid in consumers]
    parent = _rollup(supervisor)["Pss"]
    sidecar = sum(_rollup(pid)["Pss"] for pid in set(cpu.children_of(supervisor)) - set(consumers))
    pss = [each["Pss"] for each in children]
    private = mean(each["Private_Dirty"] + each["Private_Clean"] for each in children)
    return Use(parent + sidecar + sum(pss), parent, sidecar, mean(pss), private)


def _rollup(pid: int) -> dict[str, float]:
    """`smaps_rollup` by name, in MiB; nothing of a process that is gone."""
    found = dict.fromkeys(("Pss", "Private_Dirty", "Private_Clean"), 0.0)
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return found
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) / _KIB
    return found


def now_and_most(pid: int) -> tuple[float, float]:
    """What is resident of a process, and the most that ever was, in MiB; zeros for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found["VmRSS"].split()[0]) / _KIB, int(found["VmHWM"].split()[0]) / _KIB
