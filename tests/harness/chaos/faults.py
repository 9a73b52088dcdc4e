"""The faults, one function to a kind. Each does one of them, and returns how many extra executions it may cost."""

from __future__ import annotations

import os
import random
import signal

from tests.harness.chaos.cluster import CHILDREN, Cluster
from tests.harness.processes import alive, family_of
from tests.harness.programs import Worker
from tests.waiting import pause, wait_until

_CHILDREN_GONE_S = 2.0


def kill_child(cluster: Cluster, rng: random.Random) -> int:
    """SIGKILL to one child: the one job that it ran may run again."""
    worker = rng.choice(cluster.workers)
    pid = rng.choice(wait_until(lambda: cluster.children_of(worker), 10, "the worker has children"))
    os.kill(pid, signal.SIGKILL)
    return 1


def kill_supervisor(cluster: Cluster, rng: random.Random) -> int:
    """SIGKILL to a supervisor; its restart on the same host knows what each child was running."""
    worker = rng.choice(cluster.workers)
    _lose(cluster, worker)
    pause(rng.uniform(0, 3))
    cluster.restart(worker)
    return CHILDREN


def lose_host(cluster: Cluster, rng: random.Random) -> int:
    """A host is gone with all that its worker remembered: each child's batch may run again, elsewhere."""
    worker = rng.choice(cluster.workers)
    held = cluster.held_by(worker)
    _lose(cluster, worker)
    cluster.workers.remove(worker)
    cluster.add_host()
    return max(held, CHILDREN)


def flush_redis(cluster: Cluster, rng: random.Random) -> int:
    """FLUSHALL."""
    with cluster.redis.client() as client:
        client.flushall()
    return 0


def kill_postgres(cluster: Cluster, rng: random.Random) -> int:
    """PostgreSQL ends without a word, and recovers at its next start."""
    cluster.postgres.kill()
    pause(rng.uniform(0, 2))
    cluster.postgres.start()
    return 0


def stop_child(cluster: Cluster, rng: random.Random) -> int:
    """One child stands still for some seconds."""
    worker = rng.choice(cluster.workers)
    pid = rng.choice(wait_until(lambda: cluster.children_of(worker), 10, "the worker has children"))
    _freeze([pid], rng.uniform(1, 4))
    return 0


def stop_supervisor(cluster: Cluster, rng: random.Random) -> int:
    """A supervisor alone stands still, past its worker's being declared dead; its children had stopped in time."""
    worker = rng.choice(cluster.workers)
    held = cluster.held_by(worker)
    _freeze([worker.pid], 20)
    return max(held, CHILDREN)


def stop_host(cluster: Cluster, rng: random.Random) -> int:
    """A whole worker stands still, past its being declared dead: what it held runs elsewhere."""
    worker = rng.choice(cluster.workers)
    held = cluster.held_by(worker)
    _freeze(family_of(worker.pid), 20)
    return max(held, CHILDREN)


def postgres_away(cluster: Cluster, rng: random.Random) -> int:
    """PostgreSQL is stopped for a minute."""
    cluster.postgres.stop()
    pause(60)
    cluster.postgres.start()
    return 0


def redis_away(cluster: Cluster, rng: random.Random) -> int:
    """Redis is gone for a minute, and comes back empty."""
    cluster.redis.kill()
    pause(60)
    cluster.redis.start()
    return 0


def _lose(cluster: Cluster, worker: Worker) -> None:
    members = family_of(worker.pid)
    worker.kill()
    wait_until(lambda: not [pid for pid in members if alive(pid)], _CHILDREN_GONE_S, "its children are gone with it")


def _freeze(pids: list[int], for_s: float) -> None:
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    pause(for_s)
    for pid in reversed(pids):
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
