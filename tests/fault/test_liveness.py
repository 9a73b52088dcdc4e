"""Who is alive: PostgreSQL decides, and a worker that cannot prove it starts nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from supervisor.shared import layout as m
from supervisor.shared.layout import now_ns
from supervisor.shared.sidecar_link import SidecarLink
from taskhub.broker.broker import Broker
from taskhub.domain.errors import SchemaOutdatedError, StoreUnavailableError
from taskhub.events.teller import Teller
from taskhub.maintenance.observer import Observer
from taskhub.maintenance.recoverer import Recoverer
from taskhub.maintenance.requeuer import PendingRequeues, Requeuer
from taskhub.settings.fields import Settings
from taskhub.sidecar.cancellation import Cancellation
from taskhub.sidecar.heartbeat import Heartbeat, wait_for_beat
from taskhub.store.connection import Connection
from tests.harness.audit import history
from tests.harness.background import Background
from tests.harness.isolating import isolation
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows, submit
from tests.waiting import pause, stretched, wait_until

QUICK = {
    "internal_worker_dead_s": 0.6,
    "internal_rescue_healthy_s": 0.4,
    "internal_recover_s": 0.05,
    "internal_pg_statement_s": 0.3,
    "internal_pg_connect_s": 0.5,
}
VALID_S = 10.0
MakeSettings = Callable[..., Settings]


@pytest.fixture
def link(stage: PlayedWorker) -> SidecarLink:
    return SidecarLink(stage.memory, os.open(os.devnull, os.O_RDONLY))


@pytest.fixture
def heartbeat(store: Connection, link: SidecarLink) -> Heartbeat:
    return Heartbeat(store, link, validity_s=VALID_S, queues=["default"])


@pytest.fixture
def neighbour(
    settings: MakeSettings, connect: Callable[[], Connection], broker: Broker, stage: PlayedWorker
) -> Neighbour:
    """Another host's upkeep."""
    return Neighbour(settings, connect(), broker, stage)


class Neighbour:
    """Another host that judges this one, and takes back what it held."""

    def __init__(self, settings: MakeSettings, store: Connection, broker: Broker, stage: PlayedWorker) -> None:
        link, requeues = stage.neighbour_link(), PendingRequeues()
        self.observer = Observer(store, link, settings(**QUICK).timers)
        self._recoverer = Recoverer(store, link, requeues, Teller(), isolation())
        self._requeuer = Requeuer(store, broker, requeues, isolation())

    def step(self) -> None:
        self.observer.step()
        self._recoverer.step()
        self._requeuer.step()


def valid_until(stage: PlayedWorker) -> int:
    return stage.memory.header[m.H_VALID_UNTIL]


def counts_as_alive(stage: PlayedWorker, rows: Rows) -> bool:
    return bool(rows.value("SELECT count(*) FROM workers WHERE id = %s AND NOT expired", stage.worker))


def freeze(stage: PlayedWorker, rows: Rows) -> None:
    """As when the whole host stands still: its children stop, and its heartbeat grows old."""
    rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp() - interval '1 h' WHERE id = %s", stage.worker)


def test_w11_a_zombie_does_not_start_what_was_taken_from_it(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """It stood still between its claim and the handler, for longer than it was known to be alive."""
    zombie = stage.child(failpoints="worker.after_claim=stop*1")
    [job] = submit(store, broker, "ledger.noop")
    zombie.wait_stopped()
    assert rows.job(job)["status"] == "running", "it has claimed the job"
    stage.forbid()
    zombie.go_on()
    wait_until(lambda: rows.job(job)["status"] == "queued", 10, "it gives the job back")
    assert ledger.starts() == 0, "it started nothing"
    assert rows.job(job)["attempts"] == 0
    stage.permit()
    rows.wait_counts({"completed": 1}, 10)
    assert ledger.starts() == 1


def test_once_the_schema_does_not_allow_this_code_nothing_starts_and_nothing_is_charged(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, heartbeat: Heartbeat
) -> None:
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    stage.child()
    [running] = submit(store, broker, "ledger.sleep", seconds=1)
    wait_until(lambda: ledger.starts() == 1, 10, "it runs")
    rows.sql("INSERT INTO schema_migrations VALUES (9998, 'later', 'c', now(), 9998)")
    for _ in range(2):
        with pytest.raises(SchemaOutdatedError, match="allows versions from 9998"):
            heartbeat.step()
    assert valid_until(stage) == 0
    assert counts_as_alive(stage, rows)
    [waiting] = submit(store, broker, "ledger.noop")
    wait_until(lambda: rows.job(running)["status"] == "completed", 10, "what ran is settled")
    pause(0.3)
    assert (rows.job(waiting)["status"], rows.job(running)["attempts"]) == ("queued", 1)
    rows.sql("DELETE FROM schema_migrations WHERE version = 9998")
    heartbeat.step()
    rows.wait_counts({"completed": 2}, 10)


def test_a_worker_that_runs_nothing_asks_for_no_cancellations(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    link: SidecarLink,
    ledger: Ledger,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    own = Connection(proxied_pg_url)
    cancellation = Cancellation(own, link)
    stage.child().wait_phase(m.PHASE_IDLE)
    cancellation.step()
    assert not pg_proxy.statements
    submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(lambda: ledger.starts() == 1, 10, "it runs")
    cancellation.step()
    assert pg_proxy.statements == {"cancellations_of_worker": 1}
    own.close()


def test_a_locked_history_of_the_schema_silences_no_heartbeat(
    stage: PlayedWorker, rows: Rows, heartbeat: Heartbeat, pg_url: str
) -> None:
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    before = valid_until(stage)
    other = Rows(pg_url)
    other.sql("BEGIN")
    other.sql("LOCK TABLE schema_migrations")
    heartbeat.step()
    assert valid_until(stage) > before
    other.close()


def test_w14_a_stopped_supervisors_children_start_nothing_new(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, heartbeat: Heartbeat
) -> None:
    """The sidecar beats on; but for a supervisor that does not turn, a heartbeat is no proof."""
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    proven = valid_until(stage)
    assert 0 < (proven - now_ns()) / 1e9 <= VALID_S
    stage.memory.header[m.H_PARENT_TICK] = now_ns() - int(4e9)
    heartbeat.step()
    assert valid_until(stage) == proven, "its time runs out"
    child = stage.child()
    child.wait_phase(m.PHASE_IDLE)
    stage.forbid()  # it has run out
    child.wait_phase(m.PHASE_WAITING)
    [job] = submit(store, broker, "ledger.noop")
    pause(0.5)
    assert rows.job(job)["status"] == "queued"
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    rows.wait_counts({"completed": 1}, 10)


def test_w15_a_frozen_hosts_jobs_are_taken_over_and_it_restarts(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    heartbeat: Heartbeat,
    neighbour: Neighbour,
) -> None:
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    frozen = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=0.3)
    wait_until(ledger.starts, 10, "the job runs")
    frozen.stop()
    freeze(stage, rows)
    wait_until(lambda: neighbour.step() or rows.job(job)["status"] == "queued", 10, "it is taken over", every_s=0.05)
    charged = rows.job(job)
    assert [error["cause"] for error in rows.errors(job)] == ["worker_lost"]
    assert broker.depths(["default"])["default"] == 1
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()  # before anything else, whoever comes back asks whether it is still alive
    assert stage.memory.header[m.H_FENCED] == 1
    assert valid_until(stage) == 0
    frozen.go_on()
    stage.reap(frozen)
    assert rows.job(job) == charged, "what it had in hand changed nothing"
    assert history(rows, job) == ["running", "queued"]


def test_what_was_held_by_a_worker_that_was_lost_on_its_way_out_is_charged_to_nobody(
    stage: PlayedWorker,
    store: Connection,
    broker: Broker,
    rows: Rows,
    ledger: Ledger,
    heartbeat: Heartbeat,
    neighbour: Neighbour,
) -> None:
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    frozen = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "the job runs")
    stage.drain()
    heartbeat.step()
    frozen.stop()
    freeze(stage, rows)
    wait_until(lambda: neighbour.step() or rows.job(job)["status"] == "queued", 10, "it is taken over", every_s=0.05)
    taken_back = rows.job(job)
    assert (taken_back["crashes"], taken_back["interruptions"], rows.errors(job)) == (0, 1, [])


def test_a_successor_charges_nobody_for_what_a_stop_has_cut_off(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """As a container's end, whose grace is shorter than the drain: all of it is killed in the midst of a job."""
    dying = stage.child()
    [job] = submit(store, broker, "ledger.sleep", seconds=60)
    wait_until(ledger.starts, 10, "the job runs")
    stage.drain()
    dying.kill()
    os.waitpid(dying.pid, 0)
    stage.forget(dying)
    successor = stage.successor()
    stage.lose()
    successor.step()
    taken_back = rows.job(job)
    assert (taken_back["status"], taken_back["crashes"], taken_back["interruptions"]) == ("queued", 0, 1)
    assert rows.errors(job) == []


def test_a_stop_is_told_with_the_next_beat_at_once(stage: PlayedWorker, link: SidecarLink) -> None:
    began = time.monotonic()
    waiting = Background(wait_for_beat, link, 60.0)
    stage.drain()
    waiting.result(10)
    assert time.monotonic() - began < 10
    wait_for_beat(link, 0.01)  # the one after that comes when it is due


def test_w17_an_outage_of_postgresql_declares_nobody_dead(
    stage: PlayedWorker,
    settings: MakeSettings,
    broker: Broker,
    rows: Rows,
    heartbeat: Heartbeat,
    pg_proxy: Proxy,
    proxied_pg_url: str,
) -> None:
    """It lasts longer than any heartbeat may be late, so that at its end they all are; and they all live."""
    observer = Neighbour(settings, Connection(proxied_pg_url, statement_s=0.3, connect_s=0.5), broker, stage)
    stage.memory.header[m.H_PARENT_TICK] = now_ns()
    heartbeat.step()
    began = time.monotonic()
    while time.monotonic() - began < 0.6:  # a time of health, longer than it needs
        observer.step()
        stage.memory.header[m.H_PARENT_TICK] = now_ns()
        heartbeat.step()
        pause(0.05)
    pg_proxy.become_hole()
    with pytest.raises(StoreUnavailableError):
        observer.step()
    freeze(stage, rows)
    pg_proxy.pass_again()
    back = time.monotonic()
    observer.step()
    assert time.monotonic() - back < stretched(0.4)
    assert counts_as_alive(stage, rows)
    heartbeat.step()  # within its own five seconds the worker has beaten again
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        observer.step()
        pause(0.05)
    assert counts_as_alive(stage, rows)


def test_w17_a_restart_of_postgresql_between_two_passes_declares_nobody_dead(
    stage: PlayedWorker, settings: MakeSettings, rows: Rows, neighbour: Neighbour
) -> None:
    """The observer itself stood still meanwhile, and saw no failure at all."""
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        neighbour.step()
        rows.sql("UPDATE workers SET heartbeat_at = clock_timestamp()")
        pause(0.05)
    freeze(stage, rows)
    neighbour.observer._contact._server_start_s -= 1  # as if the next pass met a younger server
    neighbour.step()
    assert counts_as_alive(stage, rows)


def test_a_successor_of_the_state_folder_rescues_at_once_and_exactly(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger
) -> None:
    """All processes of a worker are killed together; the next one of this host inherits the record."""
    dying = stage.child()
    made = submit(store, broker, "ledger.sleep", 3, seconds=60)
    wait_until(ledger.starts, 10, "a job runs")
    os.kill(dying.pid, signal.SIGKILL)
    os.waitpid(dying.pid, 0)
    stage.forget(dying)
    successor = stage.successor()
    stage.lose()
    successor.step()
    assert rows.counts() == {"queued": 3}
    running = ledger.entries("start")[0].job
    assert [rows.job(job)["crashes"] for job in made] == [int(job == running) for job in made]
    assert [error["cause"] for error in rows.errors(running)] == ["worker_lost"]
    assert rows.value("SELECT expired FROM workers WHERE id = %s", stage.worker)
