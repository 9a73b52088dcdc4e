"""Faults of what is around a worker: its disk, descriptors and log, and what others do in the same PostgreSQL."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.chaos.cluster import CHILDREN, Cluster
from tests.harness.processes import alive, children_of
from tests.harness.programs import Worker
from tests.waiting import pause, wait_until

_FOREIGN = "elsewhere"


def fill_disk(cluster: Cluster, rng: random.Random) -> int:
    """The disk of all state folders and logs is full for some seconds, in which a child is killed, too."""
    assert cluster.disk is not None
    worker = rng.choice(cluster.workers)
    pid = rng.choice(wait_until(lambda: cluster.children_of(worker), 10, "the worker has children"))
    cluster.disk.fill()
    pause(2)
    os.kill(pid, signal.SIGKILL)
    pause(rng.uniform(3, 6))
    cluster.disk.free()
    return 1


def no_descriptors_for_sidecar(cluster: Cluster, rng: random.Random) -> int:
    """The process that looks after a worker can open nothing for some seconds."""
    _without_descriptors(sidecar_of(cluster, rng.choice(cluster.workers)), rng.uniform(3, 6))
    return 0


def no_descriptors_for_supervisor(cluster: Cluster, rng: random.Random) -> int:
    """A supervisor can open nothing for some seconds, in which it is asked to reload and loses a child."""
    worker = rng.choice(cluster.workers)
    pid = rng.choice(wait_until(lambda: cluster.children_of(worker), 10, "the worker has children"))
    with _limited(worker.pid):
        worker.signal(signal.SIGHUP)
        pause(1)
        os.kill(pid, signal.SIGKILL)
        pause(rng.uniform(2, 4))
    return 1


def stall_log(cluster: Cluster, rng: random.Random) -> int:
    """Nobody reads a worker's output for some seconds."""
    worker = rng.choice(cluster.workers)
    worker.stall()
    pause(rng.uniform(8, 15))
    worker.go_on()
    return 0


def freeze_sidecar(cluster: Cluster, rng: random.Random) -> int:
    """The process that looks after a worker stands still until its supervisor replaces it."""
    pid = sidecar_of(cluster, rng.choice(cluster.workers))
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not alive(pid), 14, "the frozen sidecar was replaced")
    return 0


def hold_transaction(cluster: Cluster, rng: random.Random) -> int:
    """Somebody's transaction in another database has written and stays open; Redis is emptied meanwhile."""
    if not cluster.rows.value("SELECT count(*) FROM pg_database WHERE datname = %s", _FOREIGN):
        cluster.rows.sql(f"CREATE DATABASE {_FOREIGN}")
    with cluster.transaction(_FOREIGN) as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS held (number int)")
        cursor.execute("INSERT INTO held VALUES (1)")
        pause(rng.uniform(5, 8))
        with cluster.redis.client() as client:
            client.flushall()
        pause(12)
    return 0


def alter_table(cluster: Cluster, rng: random.Random) -> int:
    """A migration holds the jobs table for some seconds while it adds a column, and another takes it away again."""
    with cluster.transaction("postgres") as cursor:
        cursor.execute("ALTER TABLE jobs ADD COLUMN somebodys int")
        pause(rng.uniform(1, 4))
    pause(1)
    with cluster.transaction("postgres") as cursor:
        cursor.execute("ALTER TABLE jobs DROP COLUMN somebodys")
    return 0


def sidecar_of(cluster: Cluster, worker: Worker) -> int:
    """The child of the supervisor that leads no slot."""

    def only() -> int | None:
        slots = cluster.children_of(worker)
        others = [pid for pid in children_of(worker.pid) if pid not in slots]
        return others[0] if len(slots) == CHILDREN and len(others) == 1 else None

    found = wait_until(only, 15, "the worker has its children and a sidecar")
    assert found is not None
    return found


def _without_descriptors(pid: int, for_s: float) -> None:
    with _limited(pid):
        pause(for_s)


@contextmanager
def _limited(pid: int) -> Iterator[None]:
    """What is open stays open, nothing more can be opened. Processes forked meanwhile get their limit back, too."""
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        yield
    finally:
        for limited in [pid, *(children_of(pid) if alive(pid) else [])]:
            try:
                resource.prlimit(limited, resource.RLIMIT_NOFILE, usual)
            except ProcessLookupError:
                continue
