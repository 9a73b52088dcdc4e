"""Those who wait for jobs, and the thread that looks for all of them, whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskhub import failpoints
from taskhub.domain.errors import TooManyWaitersError
from taskhub.services.queries import waiting
from taskhub.services.queries.waiting import Hub
from taskhub.store.connection import Connection
from tests.harness.background import Background
from tests.harness.rows import Rows
from tests.waiting import stretched, wait_until

MakeHub = Callable[..., Hub]


@pytest.fixture
def make_hub(pg_url: str) -> Iterator[MakeHub]:
    is_over: list[bool] = []

    def make(size: int = 100, url: str = pg_url) -> Hub:
        return Hub(lambda: Connection(url, connect_s=0.7, index_only=True), size, lambda: bool(is_over))

    yield make
    failpoints.arm("")
    is_over.append(True)


def end(rows: Rows, job: str) -> None:
    rows.set(job, status="completed", finished_at="=clock_timestamp()")


def test_each_waiter_goes_on_when_its_own_job_ends(make_hub: MakeHub, rows: Rows) -> None:
    hub, jobs = make_hub(), rows.add(20)
    waits = [Background(hub.wait, job, 20) for job in jobs]
    wait_until(lambda: hub.count == 20, 5, "all wait")
    for number, job in enumerate(jobs):
        end(rows, job)
        waits[number].result(5)
    assert hub.count == 0


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", None])
def test_a_job_that_ended_or_was_deleted_ends_the_wait(make_hub: MakeHub, rows: Rows, status: str | None) -> None:
    job = rows.one()
    hub = make_hub()
    wait = Background(hub.wait, job, 20)
    wait_until(lambda: hub.count, 5, "it waits")
    if status is None:
        rows.sql("DELETE FROM jobs")
    else:
        rows.set(job, status=status, finished_at="=clock_timestamp()")
    wait.result(5)


def test_there_is_a_bound_and_a_place_comes_back(make_hub: MakeHub, rows: Rows) -> None:
    hub, job = make_hub(size=2), rows.one()
    waits = [Background(hub.wait, job, 20) for _ in range(2)]
    wait_until(lambda: hub.count == 2, 5, "two wait")
    with pytest.raises(TooManyWaitersError):
        hub.wait(job, 20)
    end(rows, job)
    for wait in waits:
        wait.result(5)
    hub.wait(job, 20)


FAULTS = [
    "store.filter_unfinished=raise:taskhub.domain.errors.StoreUnavailableError*2",
    "store.filter_unfinished=raise:ValueError*2",
    "store.filter_unfinished=raise:MemoryError*2",
    "store.filter_unfinished=raise:psycopg2.DataError*2",
    "store.filter_unfinished=raise:SystemExit*2",
    "store.filter_unfinished=hang*1",
    "waiters.begin=raise*2",
    "waiters.begin=raise:SystemExit*2",
    "waiters.begin=hang*1",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_becomes_of_the_one_that_looks_the_waits_end(
    make_hub: MakeHub, rows: Rows, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(waiting, "_HUNG_S", 0.3)
    monkeypatch.setattr(waiting, "_ROUND_S", 0.1)
    failpoints.arm(fault)
    hub, job = make_hub(), rows.one()
    waits = [Background(hub.wait, job, 30) for _ in range(5)]
    wait_until(lambda: hub.count == 5, 5, "all wait")
    end(rows, job)
    for wait in waits:
        wait.result(10)


@pytest.mark.parametrize("fault", ["store.filter_unfinished=raise:ValueError", "store.filter_unfinished=hang", "away"])
def test_a_wait_is_over_in_time_though_nobody_looks(make_hub: MakeHub, rows: Rows, pg_url: str, fault: str) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none" if fault == "away" else pg_url
    failpoints.arm("" if fault == "away" else fault)
    hub, job = make_hub(url=url), rows.one()
    began = time.monotonic()
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda _: hub.wait(job, 0.5), range(5)))
    assert 0.5 <= time.monotonic() - began < stretched(5)
    assert hub.count == 0


def test_one_that_is_not_wanted_any_more_goes(make_hub: MakeHub, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_ROUND_S", 0.1)
    hub, job, is_wanted = make_hub(), rows.one(), [True]
    wait = Background(hub.wait, job, 30, lambda: bool(is_wanted))
    wait_until(lambda: hub.count, 5, "it waits")
    is_wanted.clear()
    wait.result(5)


def test_the_thread_leaves_after_the_last_and_begins_again(
    make_hub: MakeHub, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_IDLE_S", 0.05)
    hub, job = make_hub(), rows.one()
    for _ in range(2):
        hub.wait(job, 0.1)
        wait_until(lambda: hub._poller is None, 5, "the thread has left")
    wait = Background(hub.wait, job, 20)
    end(rows, job)
    wait.result(5)
