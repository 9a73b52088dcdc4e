"""Many requests that wait, on the API as it is served: others do not notice, and none keeps its place for nothing."""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskhub.store.connection import Connection
from tests.harness.background import Background
from tests.harness.fixtures import MakeApi
from tests.harness.programs import Api
from tests.harness.rows import Rows
from tests.waiting import pause, wait_for_value, wait_until

_MANY = 200
_KIB_EACH = 250
_BUSY_S = 0.5  # forty plain requests take a fraction of it, unless others need the machine
_TRIES = 3  # of what a busy machine may delay
_PLAIN = "GET /jobs/{} HTTP/1.1\r\nHost: x\r\n\r\n"
_WAIT = "GET /jobs/{}?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def waiting(program: Api, jobs: list[str]) -> Iterator[list[socket.socket]]:
    """A connection per job, on each of which a request waits."""
    before = count(program)
    links = [socket.create_connection(("127.0.0.1", program.port), timeout=20) for _ in jobs]
    try:
        for link, job in zip(links, jobs, strict=True):
            link.sendall(_WAIT.format(job).encode())
        wait_for_value(lambda: count(program), before + len(jobs), 20, "requests that wait")
        yield links
    finally:
        for link in links:
            link.close()


def count(program: Api) -> float:
    return program.metrics().get("taskhub_api_waiters") or 0.0


def answer(link: socket.socket) -> bytes:
    """What is answered, to the end of the job object."""
    received = b""
    while not received.endswith(b"}") and (chunk := link.recv(65_536)):
        received += chunk
    return received


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def statements(rows: Rows, seconds: float) -> int:
    """How many looks for all who wait there are in so many seconds: each shows the moment when it began."""
    began: set[object] = set()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began.add(
            rows.value("SELECT max(query_start) FROM pg_stat_activity WHERE query LIKE 'EXECUTE filter_unfinished%%'")
        )
        pause(0.004)
    return len(began)


@pytest.mark.slow
def test_two_hundred_who_wait_leave_all_others_room(api: MakeApi, rows: Rows) -> None:
    jobs = rows.add(10)
    with api() as running, running.http() as client:
        for _ in range(20):
            assert client.get(f"/jobs/{jobs[0]}").status == 200
        [pid] = running.children()
        before_kib = memory_kib(pid)
        with waiting(running, jobs * (_MANY // 10)) as links:
            assert [client.get(f"/jobs/{jobs[0]}").status for _ in range(100)] == [200] * 100
            assert [client.post("/jobs", {"payload": {"type": "echo"}}).status for _ in range(20)] == [202] * 20
            refused = client.get(f"/jobs/{jobs[0]}?wait=30")
            assert (refused.status, refused.json["code"]) == (503, "too_many_waiters")
            assert "retry-after" in refused.headers
            assert memory_kib(pid) - before_kib < _MANY * _KIB_EACH
            assert 1 < statements(rows, 2.0) <= 2 * 10 + 3
            for job in jobs:
                rows.set(job, status="completed", finished_at="=clock_timestamp()")
            assert all(b'"status":"completed"' in answer(link) for link in links)
        wait_for_value(lambda: count(running), 0, 10, "requests that wait")


def test_those_who_hung_up_give_their_places_to_others(api: MakeApi, rows: Rows) -> None:
    jobs = rows.add(20)
    with api(TASKHUB_API_WAITERS="20") as program, waiting(program, jobs) as links:
        for link in links[:15]:
            link.close()
        wait_for_value(lambda: count(program), 5, 10, "requests that wait")
        with waiting(program, jobs[:15]) as others:
            rows.set(jobs[0], status="completed", finished_at="=clock_timestamp()")
            assert b"200 OK" in answer(others[0])


def test_all_who_wait_are_answered_within_a_second_when_the_api_is_told_to_stop(api: MakeApi, rows: Rows) -> None:
    jobs = rows.add(_MANY)
    assert any(_answers_all_in_time(api, jobs) for _ in range(_TRIES)), "not within a second, however often"


def _answers_all_in_time(api: MakeApi, jobs: list[str]) -> bool:
    """Whether a second was enough, on a machine that answers at once; in any case all are answered, and it ends.

    How busy the machine is shows in what as many looks take that wait for nothing.
    """
    with api() as program:
        plain_s = _seconds_for(program, [_PLAIN.format(job) for job in jobs])
        with waiting(program, jobs) as links:
            began = time.monotonic()
            program.signal(signal.SIGTERM)
            answers = [answer(link) for link in links]
            took_s = time.monotonic() - began
            assert program.wait(30) == 0
    assert sum(b" 200 OK" in each and b'"status":"queued"' in each for each in answers) == _MANY
    assert all(b"connection: close" in each.lower() for each in answers)
    return took_s < 1 + 3 * plain_s


def _seconds_for(program: Api, requests: list[str]) -> float:
    """How long the answers to requests take that are sent at once."""
    links = [socket.create_connection(("127.0.0.1", program.port), timeout=20) for _ in requests]
    try:
        began = time.monotonic()
        for link, request in zip(links, requests, strict=True):
            link.sendall(request.encode())
        assert all(answer(link) for link in links)
        return time.monotonic() - began
    finally:
        for link in links:
            link.close()


def test_those_who_wait_outlive_the_thread_that_looks(api: MakeApi, rows: Rows) -> None:
    [job] = rows.add(1)
    faults = "waiters.begin=raise*1;store.filter_unfinished=raise:SystemExit*1"
    with api(TASKHUB_FAILPOINTS=faults) as program, waiting(program, [job] * 20) as links:
        rows.set(job, status="completed", finished_at="=clock_timestamp()")
        assert all(b'"status":"completed"' in answer(link) for link in links)
        wait_until(lambda: program.events("waiters.seen"), 5, "it is told")


def test_a_place_at_work_is_others_while_its_request_waits(
    api: MakeApi, rows: Rows, connect: Callable[[], Connection]
) -> None:
    """One at work at once: neither those who wait for a job nor one that a transaction blocks keep it."""
    holder = connect()
    holder.execute("BEGIN")
    holder.execute("INSERT INTO unique_keys VALUES ('held', '00000000-0000-7000-8000-000000000001')")
    with api(TASKHUB_API_THREADS="1") as program, program.http() as client, waiting(program, rows.add(20)):
        blocked = Background(_submit, program, unique_key="held")
        blocked.is_blocked_in(rows)
        assert [client.post("/jobs", {"payload": {"type": "echo"}}).status for _ in range(3)] == [202] * 3
        assert not blocked.has_ended(), "others had to wait for it"
        assert blocked.result(10) == 503


def test_livez_is_answered_while_no_thread_is_free(api: MakeApi, connect: Callable[[], Connection]) -> None:
    holder = connect()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE jobs")
    with api(TASKHUB_API_THREADS="1", TASKHUB_API_WAITERS="1") as program:
        assert any(_livez_comes_soon(program) for _ in range(_TRIES))


def _livez_comes_soon(program: Api) -> bool:
    """Whether it is answered before any of many requests that wait two seconds, on a machine that answers at once."""
    plain_s = _seconds_for(program, ["GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"] * 40)
    looks = [socket.create_connection(("127.0.0.1", program.port), timeout=30) for _ in range(40)]
    for link in looks:
        link.sendall(_PLAIN.format("00000000-0000-7000-8000-000000000001").encode())
    with program.http() as client:
        assert client.get("/livez").status == 200
    are_answered = select.select(looks, [], [], 0)[0]
    assert all(answer(link) for link in looks)
    for link in looks:
        link.close()
    return not are_answered or plain_s > _BUSY_S


def _submit(program: Api, **fields: str) -> int:
    with program.http() as client:
        return client.post("/jobs", {"payload": {"type": "echo"}, **fields}).status
