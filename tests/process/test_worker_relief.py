"""Long jobs beside short ones in one child's batch."""

from __future__ import annotations

from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, gap_s, place
from tests.waiting import stretched, wait_until

QUICK = {**SOON, **HANDLERS}
NOOP = '{"type":"ledger.noop"}'


def warm_up(running: Worker, rows: Rows, broker: Broker) -> int:
    """Every child learns that these jobs take no time, and from then on takes many at once."""
    done = 0
    for _ in range(3):
        done += len(place(rows, broker, "ledger.noop", count=300))
        rows.wait_counts({"completed": done}, 15)
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("type", "payload", "within_s"),
    [
        ("ledger.sleep", '{"type":"ledger.sleep","seconds":6}', 0.5),
        ("ledger.spin", '{"type":"ledger.spin","seconds":6}', 3),
    ],
    ids=["it waits", "it holds the interpreter in C"],
)
@pytest.mark.parametrize("ahead", [0, 4], ids=["first of its batch", "in the midst of its batch"])
def test_a_long_job_holds_back_neither_what_was_finished_before_it_nor_what_was_to_come_after_it(
    worker: MakeWorker,
    ledger: Ledger,
    rows: Rows,
    broker: Broker,
    type: str,
    payload: str,
    within_s: float,
    ahead: int,
) -> None:
    """Two children; one of them takes the long job and a good part of the short ones with it."""
    with worker(**QUICK) as running:
        warm_up(running, rows, broker)
        before = rows.add(ahead, type="ledger.noop", payload=NOOP) if ahead else []
        [long] = rows.add(type=type, payload=payload)
        after = rows.add(60, type="ledger.noop", payload=NOOP)
        broker.push("default", 4, [*before, long, *after])
        began = wait_until(lambda: ledger.of(long), 10, "the long job runs")[0].at_ns
        short = [*before, *after]
        wait_until(lambda: set(rows.statuses(short)) == {"completed"}, 15, "the short ones are completed")
        assert rows.job(long)["status"] == "running", "the long one still runs"
        last = max(entry.at_ns for entry in ledger.entries("start") if entry.job in set(short))
        assert gap_s(began, last) <= stretched(within_s + 1)
        rows.wait_counts({"completed": 900 + len(short) + 1}, 20)
        assert running.events("child.exited") == []
    counted = ledger.executions()
    assert Counter(counted[job] for job in [*short, long]) == {1: len(short) + 1}
    assert {(row["attempts"], row["interruptions"], row["crashes"]) for row in rows.jobs(short)} == {(1, 0, 0)}
