"""PostgreSQL's clock is set back: what was to run soon still does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from taskhub.broker.broker import Broker
from taskhub.maintenance.reconciler import Reconciler
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.rows import Rows
from tests.waiting import wait_for_value

AHEAD = "clock_timestamp() + interval '1 h'"  # now, before the clock was set back by an hour
LATER = {"run_at": f"={AHEAD} + interval '40 s'", "updated_at": f"={AHEAD}"}


@pytest.fixture
def reconciler(settings: Callable[..., Settings], store: Connection, broker: Broker) -> Reconciler:
    return Reconciler(store, broker, settings(internal_reconcile_s=0).timers)


def set_back(rows: Rows) -> None:
    rows.sql(f"UPDATE walk SET walked_at = {AHEAD}")


def test_what_was_to_run_at_once_does_after_the_clock_was_set_back(reconciler: Reconciler, rows: Rows) -> None:
    released = [rows.one(run_at=f"={AHEAD}", updated_at=f"={AHEAD}", queue=queue) for queue in ("a", "b")]
    rows.sql("UPDATE jobs SET run_at = updated_at")
    set_back(rows)
    for _ in range(2):
        reconciler.step()
    for row in rows.jobs(released):
        assert row["run_at"] <= rows.now()


def test_a_retry_waits_for_its_own_delay_and_not_for_the_clock(reconciler: Reconciler, rows: Rows) -> None:
    retry, fresh = rows.one(attempts=1, **LATER), rows.one(**LATER)
    set_back(rows)
    for _ in range(2):
        reconciler.step()
    for row in rows.jobs([retry, fresh]):
        assert timedelta(0) < row["run_at"] - rows.now() <= timedelta(seconds=41)


def test_a_time_that_its_sender_named_is_kept_when_the_clock_is_set_back(reconciler: Reconciler, rows: Rows) -> None:
    named = rows.one(run_at=f"={AHEAD} + interval '5 h'", updated_at=f"={AHEAD}")
    later = rows.one(attempts=1, run_at="=clock_timestamp() + interval '50 min'")  # written after that
    before = [row["run_at"] for row in rows.jobs([named, later])]
    set_back(rows)
    for _ in range(2):
        reconciler.step()
    assert [row["run_at"] for row in rows.jobs([named, later])] == before


def test_thousands_of_the_same_moment_are_all_given_their_time(reconciler: Reconciler, rows: Rows) -> None:
    """A drain releases a batch by one statement: far more rows of one run_at than a reading takes."""
    rows.add(1_500, attempts=1)
    rows.add(6_000, queue="other", attempts=1)
    rows.sql(f"UPDATE jobs SET run_at = at, updated_at = at FROM (SELECT {AHEAD} AS at) AS once")
    named = "UPDATE jobs SET attempts = 0, run_at = run_at + interval '2 h' WHERE queue = 'default' AND id < %s"
    rows.sql(named, rows.value("SELECT id FROM jobs WHERE queue = 'default' ORDER BY id OFFSET 1200 LIMIT 1"))
    set_back(rows)

    def due() -> int:
        reconciler.step()
        return int(rows.value("SELECT count(*) FROM jobs WHERE run_at <= clock_timestamp()"))

    wait_for_value(due, 6_300, 20, "the count of due jobs")
