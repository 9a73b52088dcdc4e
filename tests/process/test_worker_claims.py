"""What a child answers when PostgreSQL does not take its claim: it says so once, charges nobody, and goes on after."""

from __future__ import annotations

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.programs import Worker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.waiting import pause, wait_until

ALONE = {**SOON, "TASKHUB_WORKER_PROCESSES": "1", "TASKHUB_INTERNAL_BLOCK_S": "0.3"}
COUNTS = "SELECT status, attempts, interruptions, crashes FROM jobs WHERE id = %s"
REFUSE = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$;
CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON slots FOR EACH ROW EXECUTE FUNCTION refuse()"""
REFUSALS = {
    "57P01": "an outage",
    "42P01": "a table that is missing",
    "25006": "a server that only reads",
    "53300": "too many connections",
    "22003": "a value out of range",
    "XX001": "data that are corrupted",
}


def lines(running: Worker) -> list[dict[str, object]]:
    """What the child has said of PostgreSQL."""
    return [event for event in running.events() if event["event"] in ("postgres.lost", "child.waits", "claim.refused")]


def test_a_child_whose_slot_somebody_has_locked_waits_and_says_once_at_which_table(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, pg_url: str
) -> None:
    with worker(**ALONE) as running:
        members = running.job_children()
        other = Rows(pg_url)
        other.sql("BEGIN")
        other.sql("SELECT FROM slots FOR UPDATE")
        [job] = place(rows, broker, "ledger.noop")
        [told] = wait_until(lambda: lines(running), 10, "it says so")
        assert 'in relation "slots"' in str(told["message"])
        pause(1)
        assert rows.sql(COUNTS, job) == [{"status": "queued", "attempts": 0, "interruptions": 0, "crashes": 0}]
        other.sql("ROLLBACK")
        other.close()
        rows.wait_counts({"completed": 1}, 10)
        assert rows.sql(COUNTS, job) == [{"status": "completed", "attempts": 1, "interruptions": 0, "crashes": 0}]
        assert running.job_children() == members
        assert lines(running) == [told]
    assert ledger.starts() == 1


@pytest.mark.slow
def test_whatever_postgresql_answers_to_a_claim_is_said_once_and_charged_to_nobody(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    """One worker meets every class of refusal, one after the other."""
    with worker(**ALONE) as running:
        members = running.job_children()
        for count, (sqlstate, what) in enumerate(REFUSALS.items()):
            rows.sql(REFUSE.format(sqlstate=sqlstate))
            [job] = place(rows, broker, "ledger.noop")
            wait_until(lambda count=count: len(lines(running)) > count, 10, f"it says so: {what}")
            pause(0.4)
            charged = rows.sql(COUNTS, job)
            assert charged == [{"status": "queued", "attempts": 0, "interruptions": 0, "crashes": 0}], what
            rows.sql("DROP TRIGGER refuse ON slots")
            broker.push("default", 4, [job])
            rows.wait_counts({"completed": count + 1}, 10)
            assert len(lines(running)) == count + 1, (what, lines(running)[count:])
        assert running.job_children() == members
        assert rows.value("SELECT max(attempts) + sum(interruptions + crashes) FROM jobs") == 1
    assert ledger.starts() == len(REFUSALS)
