"""The roles of a worker's sidecar: whatever one raises ends no other, and a worker says which is not well."""

from __future__ import annotations

import os
import signal
import socket
import time
from itertools import cycle

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.processes import alive
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.waiting import pause, stretched, wait_until

ROLES = (
    "heartbeat", "child_recovery", "requeuer", "blocked_child", "cancellation", "output", "predecessor_recovery",
    "observer", "recoverer",
    "dispatcher", "reconciler", "expirer", "pruner", "http",
)  # fmt: skip
CLASSES = ("ValueError", "OSError", "MemoryError", "psycopg2.DataError", "SystemExit", "KeyboardInterrupt")
QUICK = {**SOON, "TASKHUB_WORKER_PROCESSES": "1", "TASKHUB_INTERNAL_SIDECAR_STALL_S": "1"}


def probe(running: Worker, path: str) -> dict[str, object]:
    """The checks of a probe; empty while the port is closed."""
    try:
        with running.http() as client:
            return dict(client.get(path).json["checks"])
    except OSError:
        return {}


def sidecar_of(running: Worker) -> int:
    """The child of the supervisor that leads no slot."""
    told = {int(event["pid"]) for event in running.events("child.started")}
    return wait_until(lambda: next((pid for pid in running.children() if pid not in told), None), 10, "a sidecar")


@pytest.mark.slow
def test_every_role_runs_again_after_any_exception_and_is_counted(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    failing = ";".join(f"role.{name}=raise:{kind}*1" for name, kind in zip(ROLES, cycle(CLASSES), strict=False))
    with worker(**QUICK, TASKHUB_FAILPOINTS=failing) as running:
        rows.add(1, type="echo", payload='{"type":"echo"}', run_at="=clock_timestamp() + interval '0.5 s'")
        place(rows, broker, "echo", count=3)
        rows.wait_counts({"completed": 4}, 10)

        def all_well() -> bool:
            checks = probe(running, "/readyz")
            roles = dict(checks.get("roles") or {})  # type: ignore[call-overload]
            return set(roles) == set(ROLES) and not checks["unwell"] and all(r["failures"] for r in roles.values())

        wait_until(all_well, 15, f"every role has failed and is well\n{running.tail()}", every_s=0.1)
        metrics = running.metrics()
        assert [metrics.get("taskhub_role_failures_total", role=name) for name in ROLES] == [1.0] * len(ROLES)
        assert metrics.get("taskhub_sidecar_restarts_total") == 0
        told = {event["role"]: event["message"] for event in running.events("maintenance.failed")}
        assert set(told) == set(ROLES)


def test_jobs_run_while_every_role_but_the_heartbeat_fails_for_ever(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    broken = [name for name in ROLES if name not in ("heartbeat", "http")]
    with worker(**QUICK, TASKHUB_FAILPOINTS=";".join(f"role.{name}=raise:ValueError" for name in broken)) as running:
        place(rows, broker, "echo", count=5)
        rows.wait_counts({"completed": 5}, 10)
        assert probe(running, "/livez")["unwell"] == broken
        metrics = running.metrics()
        assert metrics.get("taskhub_role_age_seconds", role="heartbeat") is not None
        assert (metrics.get("taskhub_role_failures_total", role="dispatcher") or 0) >= 1


@pytest.mark.slow
def test_a_role_that_hangs_ends_the_sidecar_before_its_worker_counts_as_dead(
    worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    other = worker(name="other", **QUICK, TASKHUB_INTERNAL_RESCUE_HEALTHY_S="1", TASKHUB_INTERNAL_WORKER_DEAD_S="5")
    with other, worker(**QUICK, TASKHUB_FAILPOINTS="role.pruner=hang*1") as running:
        wait_until(lambda: running.events("role.hangs"), 10, "it is told")
        assert [event["role"] for event in running.events("role.hangs")] == ["pruner"]

        def says_so() -> bool:
            try:
                return running.metrics().get("taskhub_sidecar_restarts_total") == 1
            except OSError:
                return False

        wait_until(says_so, 10, "another sidecar answers", every_s=0.05)
        place(rows, broker, "echo", count=3)
        rows.wait_counts({"completed": 3}, 10)
        assert not other.events("worker.lost")
        roles = dict(probe(running, "/readyz")["roles"])  # type: ignore[call-overload]
        assert roles["pruner"]["failures"] >= 1


@pytest.mark.slow
def test_a_sidecar_that_stands_still_is_replaced(worker: MakeWorker, rows: Rows, broker: Broker) -> None:
    with worker(**QUICK) as running:
        frozen = sidecar_of(running)
        os.kill(frozen, signal.SIGSTOP)
        began = time.monotonic()
        wait_until(lambda: not alive(frozen), 5, "it is killed")
        assert 0.8 < time.monotonic() - began < stretched(4)
        wait_until(lambda: probe(running, "/readyz").get("registered"), 10, "another beats")
        place(rows, broker, "echo", count=2)
        rows.wait_counts({"completed": 2}, 10)


def test_a_port_in_use_is_told_once_and_stops_no_job(worker: MakeWorker, rows: Rows, broker: Broker) -> None:
    running = worker(**QUICK)
    with socket.create_server(("127.0.0.1", running.port)):
        running.start()
        place(rows, broker, "echo", count=3)
        rows.wait_counts({"completed": 3}, 15)
        pause(0.5)
        [told] = [event for event in running.events("maintenance.waits") if event["role"] == "http"]
        for part in (str(running.port), "TASKHUB_METRICS_PORT", f"process {os.getpid()}"):
            assert part in told["message"]
        assert not running.events("sidecar.exited")
    running.wait_ready()
    assert running.stop() == 0
