"""Every limit of descriptors, at a worker's start and while it runs: it says so, recovers, and charges nobody."""

from __future__ import annotations

import resource
from contextlib import suppress

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.fixtures import MakeWorker
from tests.harness.processes import family_of
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.sweep.drawing import drawn
from tests.waiting import pause, wait_until

LIMITS = list(range(8, 65, 2))
ENOUGH = 1024
QUICK = {**SOON, "TASKHUB_WORKER_PROCESSES": "2", "TASKHUB_INTERNAL_STALL_S": "4"}


class LimitedWorker:
    """A worker that begins with a limit, which is raised later."""

    def __init__(self, running: Worker, limit: int) -> None:
        self.running = running
        running._argv = ["prlimit", f"--nofile={limit}:{ENOUGH}", *running._argv]

    def set_limit(self, limit: int) -> None:
        for pid in family_of(self.running.pid):
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, ENOUGH))


def charged(rows: Rows) -> list[dict[str, object]]:
    return rows.sql("SELECT * FROM jobs WHERE status = 'failed' OR crashes > 0 OR attempts - interruptions > 1")


@pytest.mark.parametrize("limit", drawn("descriptors-start", LIMITS, 1))
def test_a_worker_that_begins_with_few_descriptors_refuses_or_recovers(
    limit: int, worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    limited = LimitedWorker(worker(**QUICK), limit)
    jobs = place(rows, broker, "echo", count=5)
    limited.running.start()
    pause(3)
    if limited.running.has_ended():
        assert limited.running.wait(1) != 0
        assert limited.running.tail().strip(), "it ended and does not say why"
        return

    def done() -> bool:
        limited.set_limit(ENOUGH)  # again and again: what is forked meanwhile has its parent's
        return set(rows.statuses(jobs)) == {"completed"}

    wait_until(done, 40, f"jobs run once there are descriptors\n{limited.running.tail()}", every_s=0.2)
    assert not charged(rows)
    assert limited.running.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("limit", drawn("descriptors-running", LIMITS, 1))
def test_a_worker_that_lacks_descriptors_for_a_while_recovers(
    limit: int, worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        limited = LimitedWorker(running, limit)
        limited.set_limit(limit)
        jobs = place(rows, broker, "echo", count=50)
        jobs += rows.add(3, type="echo", run_at="=clock_timestamp() + interval '1 s'")
        pause(2.5)
        assert not running.has_ended(), running.tail()

        def done() -> bool:
            limited.set_limit(ENOUGH)
            return set(rows.statuses(jobs)) == {"completed"}

        wait_until(done, 30, f"jobs run once there are descriptors\n{running.tail()}", every_s=0.2)
        wait_until(running._is_ready, 15, "it is ready again", every_s=0.1)
        assert not charged(rows)
