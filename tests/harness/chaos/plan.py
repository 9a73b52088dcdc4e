"""The rows of the table, and how one of them is run."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.harness.audit import Verdict
from tests.harness.chaos import faults, surroundings
from tests.harness.chaos.cluster import Cluster
from tests.waiting import pause

Fault = Callable[[Cluster, random.Random], int]
Progress = Callable[[str, int, int], None]

REST_S = 180.0


@dataclass(frozen=True)
class Row:
    """Some faults spread over a load that lasts about `lasts_s`."""

    name: str
    faults: tuple[tuple[Fault, int], ...]
    lasts_s: float
    on_small_disk: bool = False

    @property
    def count(self) -> int:
        return sum(times for _, times in self.faults)


ROWS = (
    Row("50 child kills", ((faults.kill_child, 50),), 45),
    Row("10 supervisor kills", ((faults.kill_supervisor, 10),), 60),
    Row("10 FLUSHALLs", ((faults.flush_redis, 10),), 40),
    Row("5 PostgreSQL kills", ((faults.kill_postgres, 5),), 50),
    Row(
        "10 stops and continues",
        ((faults.stop_child, 4), (faults.stop_supervisor, 3), (faults.stop_host, 3)),
        130,
    ),
    Row("60 s of PostgreSQL away", ((faults.postgres_away, 1),), 90),
    Row("60 s of Redis away", ((faults.redis_away, 1),), 90),
    Row("3 hosts lost, others take over", ((faults.lose_host, 3),), 70),
    Row("3 full disks", ((surroundings.fill_disk, 3),), 50, on_small_disk=True),
    Row(
        "6 times no descriptors",
        ((surroundings.no_descriptors_for_sidecar, 3), (surroundings.no_descriptors_for_supervisor, 3)),
        60,
    ),
    Row("3 stalled log pipes", ((surroundings.stall_log, 3),), 60),
    Row("2 foreign open transactions", ((surroundings.hold_transaction, 2),), 60),
    Row("3 frozen sidecars", ((surroundings.freeze_sidecar, 3),), 60),
    Row("4 changes of the jobs table", ((surroundings.alter_table, 4),), 50),
)
SHORT = Row(
    "a little of everything",
    ((faults.kill_child, 8), (faults.flush_redis, 2), (faults.kill_supervisor, 1), (faults.kill_postgres, 1)),
    15,
)


@dataclass
class Result:
    """What became of one row."""

    row: Row
    jobs: int
    verdict: Verdict
    may_be_extra: int
    problems: list[str]
    standstill_s: float
    seconds: float

    @property
    def is_good(self) -> bool:
        return not self.problems and not self.verdict.faults and self.verdict.extra <= self.may_be_extra


def run_row(row: Row, jobs: int, seed: int, tell: Progress) -> Result:
    """Run one row; `tell` hears what goes on: a word, jobs done, faults done."""
    rng = random.Random(f"{seed}-{row.name}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="th-chaos-") as folder, _cluster(Path(folder), row, rng) as cluster:
        return _run(row, jobs, rng, cluster, tell, began)


def _cluster(folder: Path, row: Row, rng: random.Random) -> Cluster:
    return Cluster(folder, rng, on_small_disk=row.on_small_disk)


def _run(row: Row, jobs: int, rng: random.Random, cluster: Cluster, tell: Progress, began: float) -> Result:
    clients = cluster.clients(jobs, row.lasts_s)
    clients.start()
    problems: list[str] = []
    may_be_extra = 0
    try:
        may_be_extra = _do_faults(row, rng, cluster, tell)
        tell("coming to rest", cluster.completed(), row.count)
        while not clients.are_done:
            pause(0.2)
            tell("coming to rest", cluster.completed(), row.count)
        cluster.wait_rest(jobs, REST_S)
    except AssertionError as error:
        problems.append(str(error).splitlines()[0])
    clients.end()
    problems += clients.refused[:3]
    problems += [f"a program ended with {code}" for code in cluster.stop() if code]
    problems += [f"process {pid} is left" for pid in cluster.strays()]
    seconds = time.monotonic() - began
    return Result(row, jobs, cluster.judge(), may_be_extra, problems, cluster.longest_standstill_s(), seconds)


def _do_faults(row: Row, rng: random.Random, cluster: Cluster, tell: Progress) -> int:
    """Do all faults, in random order at random moments of the load; returns how many extra executions they may cost."""
    order = [fault for fault, times in row.faults for _ in range(times)]
    rng.shuffle(order)
    began = time.monotonic()
    moments = sorted(rng.uniform(0.05, 0.9) * row.lasts_s for _ in order)
    allowed = 0
    for done, (fault, moment) in enumerate(zip(order, moments, strict=True)):
        while time.monotonic() - began < moment:
            tell(fault.__name__.replace("_", " "), cluster.completed(), done)
            pause(min(0.2, max(0.0, moment - (time.monotonic() - began))))
        allowed += fault(cluster, rng)
    return allowed
