"""The HTTP client against the API as it is served."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from taskhub import Client
from taskhub.client import ClientError
from taskhub.domain.errors import InvalidPayloadError, MalformedJsonError, UnavailableError
from tests.harness.fixtures import MakeApi
from tests.harness.programs import Api, free_port
from tests.harness.rows import Rows
from tests.harness.shared_api import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.shared_api import shared_api
from tests.waiting import wait_until

MakeClient = Callable[..., Client]


running = shared_api()


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    with ExitStack() as clients:
        yield lambda *arguments, **options: clients.enter_context(Client(*arguments, **options))


def url(program: Api) -> str:
    return f"http://127.0.0.1:{program.port}/"


def test_submit_look_wait_cancel(running: Api, rows: Rows, make_client: MakeClient) -> None:
    client = make_client(url(running))
    job = client.submit("echo", {"n": 1}, queue="q")
    assert client.job(job)["payload"] == {"type": "echo", "n": 1}
    assert client.wait(job, 0.05)["status"] == "queued"
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.wait, job, 20)
        rows.set(job, status="completed", result="5", finished_at="=clock_timestamp()")
        assert waiting.result(10)["result"] == 5
    with pytest.raises(ClientError) as caught:
        client.cancel(job)
    assert (caught.value.status, caught.value.code) == (409, "job_finished")
    assert client.cancel(client.submit("echo"))["status"] == "cancelled"


def test_refusals_say_why(running: Api, make_client: MakeClient) -> None:
    client = make_client(url(running))
    with pytest.raises(ClientError, match=r"priority: must be a whole number"):
        client.submit("echo", priority=10)
    with pytest.raises(ClientError) as caught:
        client.job("x/../y")
    assert caught.value.code == "not_found"


def test_what_a_payload_says_chooses_no_other_type(running: Api, rows: Rows, make_client: MakeClient) -> None:
    with pytest.raises(InvalidPayloadError, match="names another type"):
        make_client(url(running)).submit("demo", {"type": "fail"})
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_values_of_python_are_sent_as_json_has_them(running: Api, make_client: MakeClient) -> None:
    client, moment = make_client(url(running)), datetime(2030, 1, 31, tzinfo=timezone.utc)
    job = client.job(client.submit("echo", {"at": moment, "price": Decimal("1.50")}, run_at=moment, tags=("a", "b")))
    assert job["payload"] == {"type": "echo", "at": "2030-01-31T00:00:00+00:00", "price": "1.50"}
    assert (job["run_at"], job["tags"]) == ("2030-01-31T00:00:00Z", ["a", "b"])
    with pytest.raises(MalformedJsonError, match="set has no form"):
        client.submit("echo", {"x": {1}})


def test_the_same_key_is_the_same_job_for_any_client(running: Api, make_client: MakeClient) -> None:
    keys = [make_client(url(running)).submit("echo", {"n": 1}, idempotency_key="k") for _ in range(3)]
    assert len(set(keys)) == 1


def test_an_api_that_restarts_is_asked_again(api: MakeApi, rows: Rows, make_client: MakeClient) -> None:
    with api() as program:
        client = make_client(url(program), timeout_s=1, retry_s=20)
        client.submit("echo")
        for pid in program.children():
            os.kill(pid, signal.SIGKILL)
        jobs = {client.submit("echo") for _ in range(20)}
        assert rows.value("SELECT count(*) FROM jobs") == 1 + len(jobs) == 21


def test_a_stopped_api_costs_no_second_job(running: Api, rows: Rows, make_client: MakeClient) -> None:
    client = make_client(url(running), timeout_s=0.3, retry_s=20)
    client.submit("echo")
    for pid in running.children():
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        submitting = thread.submit(client.submit, "echo")
        wait_until(lambda: submitting.running(), 5, "the request is under way")
        for pid in running.children():
            os.kill(pid, signal.SIGCONT)
        assert submitting.result(20)
    assert rows.value("SELECT count(*) FROM jobs") == 2


def test_nobody_there() -> None:
    with pytest.raises(UnavailableError, match="no answer"):
        Client(f"http://127.0.0.1:{free_port()}", retry_s=0.2).job("x")
    with pytest.raises(ValueError, match="not an http"):
        Client("localhost:8080")
