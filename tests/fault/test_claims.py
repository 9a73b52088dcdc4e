"""Between Redis and the handler: every way in which a claim can be cut short, none of which loses or doubles a job."""

from __future__ import annotations

from collections import Counter

import pytest

from supervisor.shared import layout as m
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.job import WorkerSlot
from taskhub.services.recovery.rescue import Death, Held, rescue
from taskhub.store.connection import Connection
from tests.harness.audit import history
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows, submit
from tests.waiting import pause, wait_until

CLAIM = b"EXECUTE settle_and_claim"
NO_REDIS = "redis://127.0.0.1:1/0"
KILLED = Death("signal:SIGKILL", "the process was killed")


def test_w1_killed_between_the_take_and_the_claim(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child(failpoints="worker.before_claim=kill")
    made = submit(store, broker, "ledger.noop", 5)
    stage.reap(dying)
    assert rows.counts() == {"queued": 5}
    stage.recover()
    wait_until(lambda: broker.depths(["default"])["default"] == 5, 1, "all ids wait in Redis again")
    stage.child()
    rows.wait_counts({"completed": 5}, 10)
    assert ledger.executions() == Counter(made)
    assert rows.value("SELECT max(attempts) FROM jobs") == 1


def test_w2_claim_committed_answer_lost(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    lost = pg_proxy.lose_answer(CLAIM)
    stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    lost.wait()
    rows.wait_counts({"completed": 1}, 10)
    assert history(rows, job) == ["running", "completed"]
    assert (rows.job(job)["attempts"], ledger.starts()) == (1, 1)


def test_w2_claim_committed_every_answer_lost_until_the_next_turn(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """More answers are lost than one call of the claim repeats: the child comes back to it."""
    lost = [pg_proxy.lose_answer(CLAIM) for _ in range(5)]
    stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    lost[-1].wait()
    rows.wait_counts({"completed": 1}, 10)
    assert history(rows, job) == ["running", "completed"]
    assert (rows.job(job)["attempts"], ledger.starts()) == (1, 1)


def test_w3_killed_between_the_claim_and_the_handler(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child(failpoints="worker.after_claim=kill")
    [job] = submit(store, broker, "ledger.noop")
    stage.reap(dying)
    assert rows.job(job)["status"] == "running"
    stage.recover()
    released = rows.job(job)
    assert (released["status"], released["attempts"], released["crashes"]) == ("queued", 0, 0), "it had not started"
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert ledger.starts() == 1
    assert rows.errors(job) == []


def test_w7_killed_between_settling_and_acknowledging(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    redis_proxy: Proxy,
    proxied_redis_url: str,
) -> None:
    """The take that would delete the in-flight list is lost on its way; the job is settled all the same."""
    first, second = (key_names.inflight("default", stage.worker, 0, 1, bank) for bank in (0, 1))
    take = redis_proxy.lose_request(second.encode())
    dying = stage.child(redis_url=proxied_redis_url, failpoints="worker.after_settle=kill")
    [job] = submit(store, broker, "ledger.noop")
    stage.reap(dying)
    assert take.happened
    assert broker.inflight(first) == [job], "settled, and not acknowledged"
    stage.recover()
    assert broker.inflight(first) == []
    assert broker.depths(["default"])["default"] == 0, "a settled job is not pushed again"
    stage.child()
    broker.push("default", 4, [job])  # and were it pushed: its claim is refused
    wait_until(lambda: broker.depths(["default"])["default"] == 0, 10, "the id is taken")
    [other] = submit(store, broker, "ledger.noop")
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.executions() == Counter([job, other])
    assert history(rows, job) == ["running", "completed"]


def test_w24_told_to_leave_while_it_waits_for_the_bell(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    leaving = stage.child()
    leaving.wait_phase(m.PHASE_IDLE)
    stage.drain()
    [job] = submit(store, broker, "ledger.noop")
    assert stage.reap(leaving) == 0
    stage.recover()
    assert rows.job(job)["status"] == "queued"
    assert broker.depths(["default"])["default"] == 1, "the id is not where nobody looks"
    stage.memory.header[m.H_MODE] = m.MODE_RUN
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert ledger.starts() == 1


@pytest.mark.parametrize("is_rescued_first", [True, False], ids=["after_the_rescue", "before_the_rescue"])
def test_w30_killed_with_its_claim_in_flight(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
    is_rescued_first: bool,
) -> None:
    """The claim reaches PostgreSQL when its child is long dead."""
    claim = pg_proxy.hold(CLAIM)
    dying = stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    claim.wait()
    dying.kill()
    stage.reap(dying)
    held = Held(WorkerSlot(stage.worker, dying.slot, dying.generation))
    if is_rescued_first:
        assert rescue(store, held, KILLED) == []
    claim.release()
    wait_until(lambda: _is_idle(rows), 10, "PostgreSQL has executed the claim of the dead")
    if is_rescued_first:
        assert rows.job(job)["status"] == "queued", "the claim of the dead was refused"
    else:
        assert rows.job(job)["status"] == "running"
    stage.recover()
    assert (rows.job(job)["status"], rows.job(job)["attempts"]) == ("queued", 0)
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert ledger.starts() == 1


def test_p6_a_claim_delayed_on_its_way_does_not_overwrite_a_later_one(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """The child gives the first sending up, repeats it, and goes on; then the first sending arrives."""
    claim = pg_proxy.hold(CLAIM)
    stage.child(database_url=proxied_pg_url, internal_pg_statement_s=0.1)
    [job] = submit(store, broker, "ledger.noop")
    claim.wait()
    rows.wait_counts({"completed": 1}, 10)
    [later] = submit(store, broker, "ledger.sleep", seconds=30)
    wait_until(lambda: ledger.executions()[later], 10, "a later job runs")
    held = rows.sql("SELECT ids::text[], lease FROM slots")
    claim.release()
    wait_until(lambda: _is_idle(rows), 10, "PostgreSQL has executed the late claim")
    assert rows.sql("SELECT ids::text[], lease FROM slots") == held, "the slot holds what runs"
    assert history(rows, job) == ["running", "completed"]


def test_a_row_that_somebody_has_locked_holds_up_no_other_of_its_batch(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, pg_url: str
) -> None:
    first, locked, last = submit(store, broker, "ledger.noop", 3)
    other = Rows(pg_url)
    other.sql("BEGIN")
    other.sql("SELECT FROM jobs WHERE id = %s FOR UPDATE", locked)
    stage.child()
    rows.wait_counts({"completed": 2, "queued": 1}, 15)
    for again in range(2):  # it comes again and again, as the dispatcher would have it
        broker.push_again("default", 4, [(0.0, locked)])
        submit(store, broker, "ledger.noop")
        rows.wait_counts({"completed": 3 + again, "queued": 1}, 15)
    other.sql("ROLLBACK")
    other.close()
    broker.push_again("default", 4, [(0.0, locked)])
    rows.wait_counts({"completed": 5}, 15)
    assert {first, locked, last} <= set(ledger.executions())
    assert max(ledger.executions().values()) == 1
    assert rows.job(locked)["attempts"] == 1


@pytest.mark.parametrize("is_carried_out", [True, False], ids=["carried_out", "never_arrived"])
def test_a_locked_row_of_a_claim_that_may_have_been_carried_out_ends_its_slot_alone(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
    pg_url: str,
    is_carried_out: bool,
) -> None:
    """The slot must name it for as long as it may be this child's; so only a rescue can let the others go on."""
    lost = (pg_proxy.lose_answer if is_carried_out else pg_proxy.lose_request)(CLAIM)
    stops = "store.settle_and_claim=stop*2"
    leaving = stage.child(database_url=proxied_pg_url, failpoints=stops, internal_pg_lock_s=0.5)
    [job] = submit(store, broker, "ledger.noop")
    leaving.wait_stopped()
    leaving.go_on()
    lost.wait()
    leaving.wait_stopped()  # before it sends the same again
    other = Rows(pg_url)
    other.sql("BEGIN")
    other.sql("SELECT FROM jobs WHERE id = %s FOR UPDATE", job)
    leaving.go_on()
    stage.reap(leaving)
    if is_carried_out:  # its rescue waits for the row
        other.sql("ROLLBACK")
    stage.recover()
    [neighbour] = submit(store, broker, "ledger.noop")
    stage.child(internal_pg_lock_s=0.5)
    rows.wait_counts({"completed": 2} if is_carried_out else {"completed": 1, "queued": 1}, 10)
    other.sql("ROLLBACK")
    other.close()
    broker.push("default", 4, [job])  # it is found as one whose push was lost
    rows.wait_counts({"completed": 2}, 10)
    assert ledger.executions() == Counter([job, neighbour])
    assert rows.job(job)["crashes"] == 0


def test_what_a_claim_in_doubt_has_got_runs_although_its_queue_was_paused_meanwhile(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """Nobody else would ever take it up: it is running, and no other claim need come."""
    lost = [pg_proxy.lose_answer(CLAIM) for _ in range(5)]
    stage.child(database_url=proxied_pg_url)
    [job] = submit(store, broker, "ledger.noop")
    lost[0].wait()
    rows.sql("UPDATE queues SET paused = true WHERE name = 'default'")
    lost[-1].wait()
    rows.wait_counts({"completed": 1}, 10)
    assert (rows.job(job)["attempts"], ledger.starts()) == (1, 1)


def test_what_a_claim_without_redis_has_got_whose_answer_was_lost_is_given_back_though_nothing_else_waits(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """PostgreSQL stays away for longer than what waited in it is remembered."""
    lost = pg_proxy.lose_answer(b"EXECUTE claim_from_store")
    leaving = stage.child(database_url=proxied_pg_url, redis_url=NO_REDIS, internal_pg_connect_s=0.3)
    [job] = submit(store, broker, "ledger.noop")
    lost.wait()
    pg_proxy.become_hole()
    pause(1.2)
    pg_proxy.pass_again()
    stage.reap(leaving)
    assert rows.job(job)["status"] == "running"
    stage.recover()
    stage.child()
    rows.wait_counts({"completed": 1}, 10)
    assert (rows.job(job)["attempts"], ledger.starts()) == (1, 1)


def test_while_there_is_work_a_batch_costs_one_message_to_postgresql(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    """No fault, but what every one of them is measured against: settling and claiming travel together."""
    submit(store, broker, "ledger.sleep", 60, seconds=0.01)
    stage.child(database_url=proxied_pg_url, internal_batch_budget_s=0.02)
    rows.wait_counts({"completed": 60}, 20)
    claims = pg_proxy.statements.pop("settle_and_claim")
    pg_proxy.statements.pop("served_queues")  # asked once a second, however long this takes
    others = sum(pg_proxy.statements.values())
    assert claims >= 20
    assert others <= 8, pg_proxy.statements  # at its beginning and at its end


def _is_idle(rows: Rows) -> bool:
    """No session executes anything, and one of them has just executed a claim."""
    return bool(
        rows.value(
            "SELECT count(*) FILTER (WHERE state = 'active') = 0 AND count(*) FILTER (WHERE query LIKE %s) > 0"
            " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "%EXECUTE settle_and_claim%",
        )
    )
