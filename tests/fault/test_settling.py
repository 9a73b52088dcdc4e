"""From the handler's end to the row's: what is finished is settled once, by whoever is left to do it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from supervisor.shared import layout as m
from taskhub.broker.broker import Broker
from taskhub.domain.job import WorkerSlot
from taskhub.services.recovery.rescue import Death, Held, rescue
from taskhub.store.connection import Connection
from tests.harness.audit import history
from tests.harness.ledger import Ledger
from tests.harness.played_worker import Actor, PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows, run, submit
from tests.waiting import wait_until

SETTLE = b"EXECUTE settle_completed"
SETTLE_AND_CLAIM = b"EXECUTE settle_and_claim"
REFUSE_TO_COMPLETE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.status = 'completed' AND NEW.type = '{type}') EXECUTE FUNCTION refuse()"""


def lose_record(stage: PlayedWorker, store: Connection, actor: Actor) -> None:
    """Rescue a slot as another host does: nobody there knows what it was running."""
    slot = WorkerSlot(stage.worker, actor.slot, actor.generation)
    rescue(store, Held(slot, record_is_lost=True), Death("worker_lost", "the worker was lost"))


def test_w4_killed_inside_the_handler(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child()
    [job] = submit(store, broker, "ledger.kill_self", times=1)
    stage.reap(dying)
    stage.recover()
    charged = rows.job(job)
    assert (charged["status"], charged["attempts"], charged["crashes"]) == ("queued", 1, 1)
    [error] = rows.errors(job)
    assert (error["cause"], error["attempt"], error["slot"]) == ("signal:SIGKILL", 1, 0)
    assert error["peak_rss_mb"] > 1
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert (ledger.starts(), rows.job(job)["attempts"]) == (2, 2)


@pytest.mark.parametrize("statement", [SETTLE, SETTLE_AND_CLAIM], ids=["alone", "with_the_next_claim"])
def test_w6_settlement_committed_answer_lost(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
    statement: bytes,
) -> None:
    stage.child(database_url=proxied_pg_url, internal_settle_within_s=60)
    [first] = submit(store, broker, "ledger.sleep", seconds=0.3)
    wait_until(ledger.starts, 10, "the first job runs")
    lost = pg_proxy.lose_answer(statement)
    made = [first, *(submit(store, broker, "ledger.noop", 2) if statement == SETTLE_AND_CLAIM else [])]
    lost.wait()
    rows.wait_counts({"completed": len(made)}, 10)
    assert ledger.executions() == Counter(made)
    assert [history(rows, job) for job in made] == [["running", "completed"]] * len(made)
    assert "job.stale" not in stage.log(0), "what an earlier sending has settled is not lost to another"


def test_after_a_refused_result_the_batch_that_was_taken_is_claimed_at_once(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, tmp_path: Path
) -> None:
    """It lies in the in-flight list by then, so no bell would tell of it."""
    rows.sql(REFUSE_TO_COMPLETE.format(type="ledger.until"))
    stage.child(internal_block_s=60, internal_redis_worker_s=90, internal_settle_within_s=60)  # by the claim alone
    go_on = tmp_path / "go-on"
    [refused] = submit(store, broker, "ledger.until", file=str(go_on))
    wait_until(ledger.starts, 10, "the first job runs")
    [taken] = submit(store, broker, "ledger.noop")
    while broker.wait(["default"], 0.01):
        """Other children hear the bells."""
    go_on.touch()
    rows.wait_counts({"completed": 1, "failed": 1}, 10)
    assert rows.job(refused)["failure_reason"] == "result_unstorable"
    assert ledger.executions() == Counter([refused, taken])
    assert stage.log(0).count("claim.refused") == 1


def test_w9_the_rescue_overtakes_the_childs_own_settlement(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    settlement = pg_proxy.hold(SETTLE)
    dying = stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.echo", value=7)
    settlement.wait()
    dying.kill()
    stage.reap(dying)
    lose_record(stage, store, dying)
    requeued = rows.job(job)
    assert requeued["status"] == "queued"
    settlement.release()
    wait_until(lambda: _has_executed(rows, SETTLE), 10, "PostgreSQL has executed the late settlement")
    assert rows.job(job) == requeued, "the late settlement changed nothing"
    stage.child()
    broker.push("default", 4, [job])
    rows.wait_counts({"completed": 1}, 10)
    assert history(rows, job) == ["running", "queued", "running", "completed"]
    assert ledger.starts() == 2


def test_w9_the_childs_own_settlement_comes_first(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    settlement = pg_proxy.lose_answer(SETTLE)
    dying = stage.child(database_url=proxied_pg_url, failpoints="worker.after_settle=kill")
    [job] = submit(store, broker, "ledger.echo", value=7)
    settlement.wait()
    stage.reap(dying)
    settled = rows.job(job)
    stage.recover()
    assert rows.job(job) == settled
    assert history(rows, job) == ["running", "completed"]
    assert rows.errors(job) == []


def test_what_was_finished_is_settled_from_the_journal_of_the_dead(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """The settlement of a finished job is on its way, and never arrives; its child is killed."""
    settlement = pg_proxy.hold(SETTLE)
    dying = stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.echo", value=7)
    settlement.wait()
    dying.kill()
    stage.reap(dying)
    assert rows.job(job)["status"] == "running"
    stage.recover()
    settled = rows.job(job)
    assert (settled["status"], settled["result"]) == ("completed", {"value": 7})
    settlement.release()
    wait_until(lambda: _has_executed(rows, SETTLE), 10, "PostgreSQL has executed the late settlement")
    assert rows.job(job) == settled
    assert (ledger.starts(), settled["attempts"], rows.errors(job)) == (1, 1, [])


def test_the_journal_is_kept_until_its_settlement_is_committed(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """The child dies on the very way to PostgreSQL that was to settle one job and claim the next."""
    dying = stage.child(internal_settle_within_s=60, failpoints="worker.after_handler=sleep:0.3*1")
    [first] = submit(store, broker, "ledger.noop")
    wait_until(lambda: ledger.entries("end"), 10, "the first job has ended")
    dying.stop()
    [second] = submit(store, broker, "ledger.noop")
    rows.sql("BEGIN")
    rows.sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
    dying.go_on()
    wait_until(lambda: _waits_for_lock(store), 10, "its statement waits")
    dying.kill()
    stage.reap(dying)
    rows.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskhub child'")
    wait_until(lambda: not _waits_for_lock(store), 10, "its statement is gone, and has done nothing")
    rows.sql("COMMIT")
    stage.recover()
    assert rows.job(first)["status"] == "completed"
    stage.child()
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.executions() == Counter([first, second])


def test_w10_a_zombie_finishes_what_was_taken_from_it(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    zombie = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=0.5)
    wait_until(ledger.starts, 10, "the job runs")
    zombie.stop()
    lose_record(stage, store, zombie)
    stage.child(slot=1)
    broker.push("default", 4, [job])
    rows.wait_counts({"completed": 1}, 10)
    settled = rows.job(job)
    zombie.go_on()
    wait_until(lambda: "job.stale" in stage.log(0), 10, "it learns that the job was lost")
    assert rows.job(job) == settled
    assert history(rows, job) == ["running", "queued", "running", "completed"]
    assert ledger.starts() == 2


def test_w10_a_zombie_finishes_while_another_runs_the_job(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    zombie = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=0.5)
    wait_until(ledger.starts, 10, "the job runs")
    zombie.stop()
    lose_record(stage, store, zombie)
    successor = stage.child(slot=1)
    broker.push("default", 4, [job])
    wait_until(lambda: ledger.starts() == 2, 10, "the job runs again")
    successor.stop()
    running = rows.job(job)
    zombie.go_on()
    wait_until(lambda: "job.stale" in stage.log(0), 10, "it learns that the job was lost")
    assert rows.job(job) == running, "the execution of the other is none of its business"
    successor.go_on()
    rows.wait_counts({"completed": 1}, 10)
    assert history(rows, job) == ["running", "queued", "running", "completed"]


def test_w26_a_cancellation_overtakes_the_completion(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """The job had ended when somebody asked: it stays completed, and never runs again."""
    settlement = pg_proxy.hold(SETTLE)
    stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    settlement.wait()
    assert run(store, "cancel_job", id=job)[0][0] == "running"
    settlement.release()
    rows.wait_counts({"completed": 1}, 10)
    assert rows.job(job)["cancel_requested_at"] is not None
    assert run(store, "cancel_job", id=job)[0][0] == "completed"
    assert history(rows, job)[:2] == ["running", "completed"]


@pytest.mark.parametrize("reason", [m.REASON_CANCEL, m.REASON_TIMEOUT], ids=["cancel", "timeout"])
def test_w26_a_kill_for_a_job_that_has_ended_leaves_it_completed(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
    reason: int,
) -> None:
    settlement = pg_proxy.hold(SETTLE)
    dying = stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    settlement.wait()
    dying.bank[m.B_DEATH_REASON] = reason
    dying.kill()
    stage.reap(dying)
    stage.recover()
    assert history(rows, job) == ["running", "completed"]
    assert rows.errors(job) == []


def test_w26_a_job_killed_for_its_cancellation_is_cancelled_and_not_retried(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "the job runs")
    run(store, "cancel_job", id=job)
    dying.bank[m.B_DEATH_REASON] = m.REASON_CANCEL
    dying.kill()
    stage.reap(dying)
    stage.recover()
    assert history(rows, job) == ["running", "cancelled"]


def _has_executed(rows: Rows, statement: bytes) -> bool:
    """A session has executed such a statement last, and is idle."""
    return bool(
        rows.value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle' AND query LIKE %s",
            f"%{statement.decode()}%",
        )
    )


def _waits_for_lock(store: Connection) -> bool:
    return bool(
        store.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND application_name = 'taskhub child' AND query LIKE 'EXECUTE settle_and_claim%'"
        )
    )
