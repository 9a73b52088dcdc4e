"""An exception of every class, or a hang, in every role of a worker's sidecar, once and for ever.

Once: the role runs again. For ever: the worker says which role is not well (in a probe, or where that is the
port itself, in its log). Jobs go on, but for what the broken role alone does; nothing is charged; a stop ends it.
"""

from __future__ import annotations

from typing import Any

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.fixtures import MakeWorker
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.process.test_worker_roles import CLASSES, ROLES
from tests.sweep.drawing import drawn
from tests.waiting import wait_until

ACTIONS = (*(f"raise:{name}" for name in (*CLASSES, "RecursionError", "taskhub.domain.errors.StatementError")), "hang")
MEMBERS = [(role, action, often) for role in ROLES for action in ACTIONS for often in ("once", "for ever")]
QUICK = {
    **SOON,
    "TASKHUB_WORKER_PROCESSES": "1",
    "TASKHUB_DRAIN_S": "2",
    "TASKHUB_INTERNAL_SIDECAR_STALL_S": "1",
}


def checks(running: Worker) -> dict[str, Any]:
    try:
        with running.http() as client:
            return dict(client.get("/livez").json["checks"])
    except OSError:
        return {}


def says_so(running: Worker, role: str, action: str) -> bool:
    """The worker has told of this role's trouble."""
    event = "role.hangs" if action == "hang" else "maintenance.failed"
    is_logged = role in {told["role"] for told in running.events(event)}
    return is_logged and (role == "http" or action == "hang" or role in checks(running).get("unwell", ()))


def runs_again(running: Worker, role: str) -> bool:
    found = checks(running)
    return bool(found) and role not in found["unwell"] and found["roles"][role]["failures"] >= 1


@pytest.mark.parametrize(("role", "action", "often"), drawn("roles", MEMBERS, 2))
def test_trouble_in_one_role_is_that_roles_alone(
    role: str, action: str, often: str, worker: MakeWorker, rows: Rows, broker: Broker
) -> None:
    # A hang is once for each process; the next one lets all others work before it tries that role again.
    times = "*1" if often == "once" else ""
    running = worker(**QUICK, TASKHUB_FAILPOINTS=f"role.{role}={action}{times}")
    jobs = place(rows, broker, "echo", count=5)
    running.start()
    if role == "heartbeat" and (action == "hang" or often == "for ever"):
        wait_until(lambda: says_so(running, role, action), 20, f"it is told\n{running.tail()}", every_s=0.1)
        assert rows.counts() == {"queued": 5}, "nothing may start without it"
    else:
        wait_until(lambda: set(rows.statuses(jobs)) == {"completed"}, 30, f"jobs run\n{running.tail()}", every_s=0.1)
        if often == "once" and action != "hang":
            wait_until(lambda: runs_again(running, role), 30, f"it runs again\n{running.tail()}", every_s=0.1)
        else:
            wait_until(lambda: says_so(running, role, action), 30, f"it is told\n{running.tail()}", every_s=0.1)
    assert not rows.sql("SELECT * FROM jobs WHERE crashes > 0 OR interruptions > 0 OR attempts > 1")
    assert running.stop(10) == 0
