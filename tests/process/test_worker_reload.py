"""Reloads at awkward moments: in a drain, one upon the other, of code that takes long to import."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows
from tests.harness.seed_jobs import MORTAL, SOON, place
from tests.waiting import wait_until

QUICK = {**SOON, "TASKHUB_INTERNAL_BLOCK_S": "0.3"}
CHARGED = "SELECT sum(interruptions + crashes) + count(*) FILTER (WHERE attempts <> 1) FROM jobs"
DEAD_S, IMPORT_S = 1.6, 1.9
SOON_DEAD = MORTAL | {"TASKHUB_INTERNAL_HEARTBEAT_S": "0.2", "TASKHUB_INTERNAL_WORKER_DEAD_S": str(DEAD_S)}


def test_a_reload_asked_for_in_a_drain_is_no_second_life(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        made = place(rows, broker, "ledger.sleep", {"seconds": 2}, count=2)
        wait_until(lambda: ledger.starts() == 2, 10, "both run")
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            running.signal(number)
        wait_until(lambda: running.events("worker.draining"), 5, "it drains")
        running.signal(signal.SIGHUP)
        assert running.wait(10) == 0
        assert running.events("worker.reexecuting") == []
    assert rows.counts() == {"completed": 2}
    assert ledger.executions() == Counter(made)
    assert rows.value(CHARGED) == 0


def test_reloads_in_quick_succession_run_nothing_twice_and_the_worker_serves_afterwards(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        before = set(running.job_children())
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.05}, count=40)
        wait_until(lambda: ledger.starts() > 2, 10, "they run")
        running.signal(signal.SIGHUP)
        wait_until(lambda: running.events("worker.reloading"), 5, "the first is tried")
        running.signal(signal.SIGHUP)
        wait_until(lambda: running.events("worker.reexecuting"), 15, "new code is in force")
        running.signal(signal.SIGHUP)  # the new program has just begun
        wait_until(lambda: not before & set(running.job_children()), 20, f"no old child is left\n{running.tail()}")
        made += place(rows, broker, "ledger.noop", count=20)
        rows.wait_counts({"completed": 60}, 20)
        assert running.stop() == 0
    assert ledger.executions() == Counter(made)
    assert rows.value(CHARGED) == 0


@pytest.mark.slow
@pytest.mark.parametrize("is_slow_in_trial", [True, False], ids=["everywhere", "not_in_the_trial"])
def test_while_new_code_is_imported_for_long_the_worker_is_alive_and_the_old_codes_job_goes_on(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, tmp_path: Path, is_slow_in_trial: bool
) -> None:
    """In the second case the trial is quick, so that the supervisor imports the slow code itself."""
    shop, silences = tmp_path / "shop.py", [0.0]
    shop.write_text("import tests.harness.handlers\n")

    def has_new_child() -> bool:
        silences.append(rows.value("SELECT extract(epoch FROM clock_timestamp() - heartbeat_at) FROM workers"))
        return bool(set(running.job_children()) - before)

    with worker(**QUICK, **SOON_DEAD, TASKHUB_HANDLERS="shop", PYTHONPATH=str(tmp_path)) as running:
        before = set(running.job_children())
        [long] = place(rows, broker, "ledger.sleep", {"seconds": IMPORT_S * (2.2 if is_slow_in_trial else 1.2)})
        wait_until(lambda: ledger.starts() == 1, 10, "the long one runs")
        where = "" if is_slow_in_trial else "if '--trial' not in sys.argv: "
        shop.write_text(f"import sys, time\nimport tests.harness.handlers\n{where}time.sleep({IMPORT_S})\n")
        running.signal(signal.SIGHUP)
        wait_until(has_new_child, 20, "a new child")
        made = place(rows, broker, "ledger.sleep", {"seconds": 0.02}, count=20)
        rows.wait_counts({"completed": 21}, 20)
        assert max(silences) < DEAD_S
        assert {event["status"] for event in running.events("child.exited")} == {"exit 0"}
        assert rows.value("SELECT count(*) FILTER (WHERE NOT expired) FROM workers") == 1
    assert ledger.executions() == Counter([long, *made])
    assert rows.value(CHARGED) == 0
