"""One poisonous record, slot or row stops none of its neighbours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.shared import layout as m
from taskhub import failpoints
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError, StoreUnavailableError
from taskhub.events.teller import Teller
from taskhub.maintenance.recoverer import Recoverer
from taskhub.maintenance.requeuer import PendingRequeues, Requeuer
from taskhub.roles import isolation as isolation_module
from taskhub.store.connection import Connection
from tests.harness.isolating import isolation
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.rows import Rows, claim, open_child, run, submit
from tests.waiting import wait_until


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed is tried again without a pause."""
    monkeypatch.setattr(isolation_module, "_FIRST_PAUSE_S", 0.0)


def raiser(errors: dict[str, BaseException], done: list[str]) -> Callable[[str], None]:
    def do(item: str) -> None:
        if item in errors:
            raise errors[item]
        done.append(item)

    return do


@pytest.mark.usefixtures("_at_once")
def test_whatever_an_item_raises_the_others_are_done_and_it_is_set_aside_after_five_failures() -> None:
    items, done, aside = isolation(), [], []  # type: ignore[var-annotated]
    do = raiser({"bad": SystemExit(1)}, done)
    for _ in range(6):
        items.each(["bad", "a", "b"], str, do, lambda item, why: aside.append((item, why)))
    assert done == ["a", "b"] * 6
    assert aside == [("bad", "it failed 5 times")]


@pytest.mark.usefixtures("_at_once")
def test_a_lack_of_descriptors_sets_nothing_aside() -> None:
    items, aside = isolation(), []  # type: ignore[var-annotated]
    for _ in range(8):
        items.each(["bad"], str, raiser({"bad": OSError(24, "x")}, []), lambda item, why: aside.append(item))
    assert aside == []


def test_what_failed_waits_longer_each_time() -> None:
    items, tried = isolation(), []  # type: ignore[var-annotated]

    def do(item: str) -> None:
        tried.append(item)
        raise ValueError(item)

    for _ in range(20):
        items.each(["bad"], str, do)
    assert tried == ["bad"]


def test_an_item_whose_row_is_locked_holds_the_others_up_once() -> None:
    """A lock time-out looks as if PostgreSQL were away: the pass ends, and the next begins with the others."""
    items, done = isolation(), []  # type: ignore[var-annotated]
    do = raiser({"a": StoreUnavailableError("locked")}, done)
    for expected in ([], ["b", "c"]):
        with pytest.raises(StoreUnavailableError):
            items.each(["a", "b", "c"], str, do)
        assert done == expected


def test_any_number_of_dead_slots_is_rescued_while_redis_is_away(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows
) -> None:
    """Their lists wait for Redis, and hide nobody's rescue behind them."""
    first = open_child(store)
    worker = first.worker
    for child in [first, *(open_child(store, slot=slot, worker=worker) for slot in range(1, 80))]:
        claim(store, child, [rows.one()])
    run(store, "expire_worker", worker=worker)
    link, requeues = stage.neighbour_link(), PendingRequeues()
    recoverer = Recoverer(store, link, requeues, Teller(), isolation())
    recoverer.step()
    assert rows.counts() == {"queued": 80}
    failpoints.arm("broker.inflight=raise:taskhub.domain.errors.BrokerUnavailableError;broker.push_again=raise:OSError")
    requeuer = Requeuer(store, broker, requeues, isolation())
    with pytest.raises((BrokerUnavailableError, OSError)):
        requeuer.step()
    failpoints.arm("")
    recoverer.step()
    assert len(requeues) == 80, "none is rescued twice, none forgotten"
    requeuer.step()
    recoverer.step()
    assert rows.value("SELECT count(*) FROM slots WHERE worker = %s", worker) == 0
    recoverer.step()
    assert rows.value("SELECT count(*) FROM workers WHERE id = %s", worker) == 0


def test_a_dead_child_whose_rescue_fails_holds_up_no_other(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dead = [stage.child(slot=0), stage.child(slot=1)]
    submit(store, broker, "ledger.sleep", 2, seconds=60)
    wait_until(lambda: ledger.starts() == 2, 10, "both run")
    for child in dead:
        child.kill()
        stage.reap(child)
    failpoints.arm("store.rescue_jobs=raise:ValueError*1")
    stage.recover()
    assert rows.counts() == {"running": 1, "queued": 1}


def test_what_the_file_of_a_dead_worker_does_not_tell_of_is_charged_to_nobody(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "it runs")
    dying.kill()
    stage.reap(dying)
    dying.bank.bytes[:] = bytes(len(dying.bank.bytes))
    successor = stage.successor()
    stage.lose()
    successor.step()
    Recoverer(store, stage.neighbour_link(), PendingRequeues(), Teller(), isolation()).step()
    row = rows.job(job)
    assert (row["status"], row["crashes"], row["interruptions"]) == ("queued", 0, 1)


def test_a_record_of_a_dead_worker_that_is_set_aside_is_kept_and_its_job_goes_on_uncharged(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """Whatever cannot be done with it: it is no fault of the job's."""
    dying = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "it runs")
    dying.kill()
    stage.reap(dying)
    successor = stage.successor()
    stage.lose()
    failpoints.arm("store.rescue_jobs=raise:ValueError*5")
    for _ in range(6):
        successor.step()
        for trouble in successor._isolation._items.values():
            trouble.again_at_s = 0.0
    Recoverer(store, stage.neighbour_link(), PendingRequeues(), Teller(), isolation()).step()
    row = rows.job(job)
    assert (row["status"], row["crashes"], row["interruptions"]) == ("queued", 0, 1)
    [kept] = [path for path in stage.memory.path.parent.glob("damaged-*") if path.suffix != ".reason"]
    assert bytes.fromhex(job.replace("-", "")) in kept.read_bytes()


def test_a_damaged_record_is_kept_aside_and_its_job_goes_on_uncharged(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    dying = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "it runs")
    dying.kill()
    stage.reap(dying)
    dying.bank[m.B_PHASE] = 99
    stage.recover()
    assert rows.job(job)["status"] == "queued"
    [kept] = [path for path in stage.memory.path.parent.glob("damaged-*") if path.suffix != ".reason"]
    assert (99).to_bytes(8, "little") in kept.read_bytes()
    assert "unknown phase" in kept.with_name(kept.name + ".reason").read_text()
    stage.recover()
    row = rows.job(job)
    assert (row["crashes"], row["interruptions"], rows.errors(job)) == (0, 1, []), "once, and no job has done it"
