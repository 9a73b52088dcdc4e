"""An exception of every class, or a hang, at every statement and every command of Redis that a worker sends.

Once: the worker recovers by itself. For ever: it is as good as dead there, and others take over what it held; a
worker that is told to stop all the same ends. In no case is a job charged for it or run without a cause.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import taskhub.broker
import taskhub.store
from taskhub.broker.broker import Broker
from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows
from tests.harness.seed_jobs import MORTAL, SOON, place
from tests.sweep.drawing import drawn
from tests.waiting import pause, wait_until

CLASSES = (
    "taskhub.domain.errors.StoreUnavailableError",
    "ValueError",
    "OSError",
    "MemoryError",
    "psycopg2.DataError",
    "SystemExit",
)
ACTIONS = (*(f"raise:{name}" for name in CLASSES), "hang")
# Sent by the API and by what stands beside a worker, never by one.
NOT_A_WORKERS = {
    "cancel_job", "get_jobs", "job_errors", "job_status", "keyed_jobs",
    "insert_job", "insert_alike_jobs", "insert_jobs", "insert_keyed_jobs",
    "ensure_queue", "free_unique_key", "repoint_idempotency_key", "oldest_waiting",
    "filter_unfinished",
}  # fmt: skip
PROMPT = {
    **SOON,
    **MORTAL,
    "TASKHUB_WORKER_PROCESSES": "1",
    "TASKHUB_DRAIN_S": "2",
    "TASKHUB_INTERNAL_STALL_S": "3",
    "TASKHUB_INTERNAL_PG_STATEMENT_S": "1.5",
    "TASKHUB_INTERNAL_PG_CONNECT_S": "1.7",
    "TASKHUB_INTERNAL_REDIS_WORKER_S": "3",
}
IN_TIME_S = 30
RESTS_S = 30  # a role that hung, in the next process
ITS_CHANCE_S = 2.5


def points() -> list[str]:
    """Every statement that a worker sends, every script and command."""
    statements = {path.stem for path in (Path(taskhub.store.__file__).parent / "sql").rglob("*.sql")}
    folder = Path(taskhub.broker.__file__).parent
    commands = {path.stem for path in folder.rglob("*.lua")}
    for module in folder.glob("*.py"):
        commands |= set(re.findall(r'_asking\("(\w+)"\)', module.read_text()))
    return [
        *(f"store.{name}" for name in sorted(statements - NOT_A_WORKERS)),
        *(f"broker.{name}" for name in sorted(commands)),
    ]


# In the handler's session and its time: a driver's error may be of the handler's doing, and a hang is its time-out's.
HANDLERS_OWN = {
    ("store.complete_in_transaction", "raise:psycopg2.DataError"),
    ("store.complete_in_transaction", "hang"),
    ("store.begin_for_handler", "hang"),
}
AT_BIRTH = {("store.open_slot", "raise:SystemExit")}  # an exit, where a child may still exit
MEMBERS = [(point, action) for point in points() for action in ACTIONS if (point, action) not in HANDLERS_OWN]


class Load:
    """Jobs of all walks of life: quick, retried, delayed, asked to be cancelled, of another queue."""

    def __init__(self, rows: Rows, broker: Broker) -> None:
        self._rows = rows
        self.quick = place(rows, broker, "ledger.noop", count=12)
        self.quick += place(rows, broker, "ledger.noop", count=3, queue="other", priority=9)
        self.quick += place(rows, broker, "ledger.transact", count=2)
        self.retried = place(rows, broker, "ledger.fail", {"times": 1}, count=2)
        self.delayed = rows.add(
            2, type="ledger.noop", payload='{"type":"ledger.noop"}', run_at="=clock_timestamp() + interval '1 s'"
        )
        self.all = [*self.quick, *self.retried, *self.delayed]

    def is_done(self) -> bool:
        return set(self._rows.statuses(self.all)) == {"completed"}

    def verify(self, ledger: Ledger) -> None:
        """Every job ran as often as it had to, and nobody was charged for anything else."""
        runs = ledger.executions()
        for row in self._rows.jobs(self.all):
            wanted = 2 if row["id"] in self.retried else 1
            if row["interruptions"] and row["attempts"] - row["interruptions"] == 1:
                wanted = 1  # what was interrupted was the one failure
            found = (row["status"], row["attempts"] - row["interruptions"], row["crashes"], runs[row["id"]])
            assert found == ("completed", wanted, 0, wanted + row["interruptions"]), row


@pytest.fixture
def load(rows: Rows, broker: Broker) -> Load:
    return Load(rows, broker)


@pytest.fixture(params=drawn("points-once", MEMBERS, 1), ids="=".join)
def once(request: pytest.FixtureRequest) -> str:
    point, action = request.param
    ends_its_process = action == "hang" or (point, action) in AT_BIRTH
    return f"{point}={action}{'**' if ends_its_process else '*'}1"  # and the next is well


@pytest.fixture(params=drawn("points-for-ever", MEMBERS, 1), ids="=".join)
def for_ever(request: pytest.FixtureRequest) -> str:
    return "=".join(request.param)


def test_a_worker_recovers_from_one_fault(once: str, worker: MakeWorker, load: Load, ledger: Ledger) -> None:
    running = worker(**PROMPT, TASKHUB_FAILPOINTS=once)
    running.start()
    in_time_s = IN_TIME_S + ("=hang" in once) * RESTS_S
    wait_until(load.is_done, in_time_s, f"all jobs are done in spite of {once}\n{running.tail()}", every_s=0.1)
    load.verify(ledger)
    wait_until(running._is_ready, 15, f"the worker is ready again\n{running.tail()}", every_s=0.1)
    assert running.stop() == 0, running.tail()


@pytest.mark.slow
def test_others_take_over_what_one_cannot_do(for_ever: str, worker: MakeWorker, load: Load, ledger: Ledger) -> None:
    ill = worker("ill", **PROMPT, TASKHUB_FAILPOINTS=for_ever)
    ill.start()
    pause(ITS_CHANCE_S)
    with worker("well", **PROMPT):
        if not ill.has_ended():
            ill.signal(signal.SIGTERM)
        wait_until(ill.has_ended, 10, f"it ends when it is told to\n{ill.tail()}")
        wait_until(load.is_done, IN_TIME_S, f"all jobs are done in spite of {for_ever}\n{ill.tail()}", every_s=0.1)
    load.verify(ledger)
