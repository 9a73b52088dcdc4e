"""Submitting while servers are away, freeze, or lose answers: soon an honest answer, never a second job."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from taskhub.api.app import context_of, create_app
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.handlers import registry as registries
from taskhub.settings.fields import Settings
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows
from tests.harness.servers import Postgres, Redis
from tests.waiting import stretched, wait_until

MakeApp = Callable[..., Flask]

_ANSWER_WITHIN_S = 2.2  # two seconds, and what a busy test machine adds
_BODY = {"payload": {"type": "demo"}}


@pytest.fixture
def make_app(settings: Callable[..., Settings]) -> Iterator[MakeApp]:
    apps = []

    def make(**changes: object) -> Flask:
        apps.append(create_app(settings(**changes), registries.load([])))
        return apps[-1]

    yield make
    for app in apps:
        context_of(app).close()


def post(app: Flask, body: Any = _BODY, path: str = "/jobs", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = json.dumps(body).encode()
    return app.test_client().post(path, data=data, headers={"Content-Type": "application/json", **named})


def is_unavailable(answer: Any) -> bool:
    return (answer.status_code, answer.json["code"]) == (503, "unavailable") and "Retry-After" in answer.headers


# The answer to an INSERT is lost, or the INSERT is


@pytest.mark.parametrize("loss", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}], ids=["plain", "keyed"])
def test_a_lost_insert_is_sent_again_and_is_one_job(
    make_app: MakeApp, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str, loss: str, headers: dict[str, str]
) -> None:
    app = make_app(database_url=proxied_pg_url)
    assert post(app, **dict.fromkeys(headers, "warm")).status_code == 202
    rule = getattr(pg_proxy, loss)(b"EXECUTE insert_")
    answer = post(app, **headers)
    assert rule.happened
    assert answer.status_code == 202
    row = rows.job(answer.json["id"])
    assert rows.value("SELECT count(*) FROM jobs") == 2
    assert answer.json["created_at"][:19] == row["created_at"].isoformat()[:19]
    again = post(app, **headers)
    assert (again.json["id"] == answer.json["id"]) == bool(headers)


@pytest.mark.parametrize("loss", ["lose_answer", "lose_request"])
def test_a_lost_bulk_insert_is_all_or_nothing(
    make_app: MakeApp, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str, loss: str
) -> None:
    app = make_app(database_url=proxied_pg_url)
    rule = getattr(pg_proxy, loss)(b"EXECUTE insert_")
    jobs = [_BODY, {**_BODY, "unique_key": "a"}, {**_BODY, "unique_key": "a"}, _BODY]
    answer = post(app, {"jobs": jobs}, "/jobs/bulk")
    assert rule.happened
    assert answer.status_code == 202
    assert len(set(answer.json["ids"])) == rows.value("SELECT count(*) FROM jobs") == 3


def test_an_insert_that_arrives_late_is_still_one_job(
    make_app: MakeApp, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    app = make_app(database_url=proxied_pg_url)
    assert post(app, Idempotency_Key="warm").status_code == 202
    rule = pg_proxy.hold(b"EXECUTE insert_")
    first = post(app, Idempotency_Key="k")  # its statement is still on the way when its time is over
    assert is_unavailable(first)
    second = post(app, Idempotency_Key="k")
    assert second.status_code == 202
    rule.release()
    third = post(app, Idempotency_Key="k")
    assert (third.status_code, third.json["id"]) == (200, second.json["id"])
    assert rows.value("SELECT count(*) FROM jobs") == 2


def test_a_lost_answer_to_a_cancel_changes_nothing(
    make_app: MakeApp, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    app = make_app(database_url=proxied_pg_url)
    job = post(app).json["id"]
    app.test_client().get(f"/jobs/{job}")
    rule = pg_proxy.lose_answer(b"EXECUTE cancel_job")
    answer = app.test_client().post(f"/jobs/{job}/cancel")
    assert rule.happened
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")


# PostgreSQL away


def test_a_network_that_swallows_everything(
    make_app: MakeApp, rows: Rows, pg_proxy: Proxy, proxied_pg_url: str
) -> None:
    app = make_app(database_url=proxied_pg_url)
    job = post(app).json["id"]
    pg_proxy.become_hole()
    for ask in (
        lambda: post(app),
        lambda: post(app, Idempotency_Key="k"),
        lambda: app.test_client().get(f"/jobs/{job}"),
    ):
        _asked_soon(ask)
    pg_proxy.pass_again()
    assert post(app).status_code == 202


def _asked_soon(ask: Callable[[], Any]) -> None:
    started = time.monotonic()
    answer = ask()
    assert is_unavailable(answer)
    assert time.monotonic() - started < stretched(_ANSWER_WITHIN_S)


@pytest.mark.slow
def test_postgres_that_freezes_restarts_or_dies(make_app: MakeApp, frail_postgres: Postgres) -> None:
    app = make_app(database_url=frail_postgres.url("postgres"))
    assert post(app).status_code == 202
    frail_postgres.freeze()
    _all_asked_soon(app, 8)
    frail_postgres.thaw()
    assert post(app).status_code == 202
    frail_postgres.kill()
    _all_asked_soon(app, 8)
    frail_postgres.start()
    assert post(app).status_code == 202
    assert app.test_client().get("/readyz").status_code == 200


def _all_asked_soon(app: Flask, clients: int) -> None:
    """However many ask at once, none waits for the others' time-outs too."""
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(lambda _: _asked_soon(lambda: post(app)), range(2 * clients)))


def test_reads_survive_a_restart_of_postgres(make_app: MakeApp, frail_postgres: Postgres) -> None:
    app = make_app(database_url=frail_postgres.url("postgres"))
    job = post(app).json["id"]
    assert app.test_client().get(f"/jobs/{job}").status_code == 200
    frail_postgres.kill()
    frail_postgres.start()
    assert app.test_client().get(f"/jobs/{job}").status_code == 200
    assert post(app).status_code == 202


# Redis away


def test_a_frozen_redis_delays_nobody_for_long(make_app: MakeApp, frail_redis: Redis) -> None:
    app = make_app(redis_url=frail_redis.url)
    broker = Broker(frail_redis.url, timeout_s=5)
    assert post(app).status_code == 202
    frail_redis.signal(signal.SIGSTOP)
    started = time.monotonic()
    assert [post(app).status_code for _ in range(20)] == [202] * 20
    assert time.monotonic() - started < stretched(1.5)
    doorbell = context_of(app).doorbell
    wait_until(
        lambda: post(app).status_code == 202 and not doorbell.is_up, 5, "a push sees that one before has no answer"
    )
    frail_redis.signal(signal.SIGCONT)
    wait_until(doorbell.ask, 10, "the API finds Redis again", every_s=0.1)
    job = post(app).json["id"]
    assert job in broker.inflight(key_names.ready("default", 4))
