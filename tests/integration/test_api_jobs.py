"""Looking at jobs, waiting for them, cancelling them; probes and metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from taskhub.api.app import context_of, create_app
from taskhub.handlers import registry as registries
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.metrics import Samples
from tests.harness.rows import Rows, claim, open_child, run
from tests.waiting import wait_until

MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client(settings: Callable[..., Settings]) -> Iterator[MakeClient]:
    apps = []

    def make(**changes: object) -> FlaskClient:
        app = create_app(settings(**changes), registries.load([]))
        apps.append(app)
        return app.test_client()

    yield make
    for app in apps:
        context_of(app).close()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()


# Looking


@pytest.mark.parametrize(
    "name", ["x", "0", "01a20bd5-3972-727f-bd5f-bcca771ec26a", "' OR 1=1", "%25", "\N{SNOWMAN}", "a" * 3000]
)
def test_an_id_that_is_nobodys_is_not_found(client: FlaskClient, name: str) -> None:
    for answer in (
        client.get(f"/jobs/{name}"),
        client.get(f"/jobs/{name}/errors"),
        client.post(f"/jobs/{name}/cancel"),
    ):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_an_id_in_capitals_is_the_same_id(client: FlaskClient, rows: Rows) -> None:
    job = rows.one()
    assert client.get(f"/jobs/{job.upper()}").json["id"] == job


def test_a_running_job_shows_its_worker(client: FlaskClient, rows: Rows, store: Connection) -> None:
    job = rows.one(run_at="=clock_timestamp()")
    assert client.get(f"/jobs/{job}").json["run_at"].endswith("Z")
    child = open_child(store, slot=3)
    claim(store, child, [job])
    shown = client.get(f"/jobs/{job}").json
    assert (shown["status"], shown["worker"], shown["attempts"]) == ("running", {"id": child.worker, "slot": 3}, 1)
    assert shown["started_at"] is not None
    assert shown["run_at"] is None


def test_a_failed_job_shows_reason_error_and_history(client: FlaskClient, rows: Rows, store: Connection) -> None:
    job = rows.one(max_attempts=1)
    child = open_child(store)
    lease, _ = claim(store, child, [job])
    message = 'broken "\n\x1b[31m \N{SNOWMAN} <b>'
    run(
        store, "settle_failures", ids=[job], started_us_ago=[500_000], types=["ValueError"], messages=[message],
        causes=["exception"], retry_in=[0.0], reasons=[None], lease=lease, raised_in=["/shop.py:7 resize"],
        tracebacks=[f'Traceback:\n  File "shop.py"\nValueError: {message}'],
    )  # fmt: skip
    shown = client.get(f"/jobs/{job}").json
    error = {"type": "ValueError", "message": message, "cause": "exception"}
    assert (shown["status"], shown["failure_reason"], shown["error"]) == ("failed", "attempts_exhausted", error)
    assert shown["worker"] is None
    [entry] = client.get(f"/jobs/{job}/errors").json["errors"]
    assert entry == {
        **error, "attempt": 1, "worker": {"id": child.worker, "slot": 0}, "peak_rss_mb": None,
        "where": "/shop.py:7 resize", "traceback": f'Traceback:\n  File "shop.py"\nValueError: {message}',
        "started_at": shown["started_at"], "failed_at": shown["finished_at"],
    }  # fmt: skip


def test_a_job_without_failures_has_no_history(client: FlaskClient, rows: Rows) -> None:
    assert client.get(f"/jobs/{rows.one()}/errors").json == {"errors": []}


def test_a_result_comes_back_as_it_was_stored(client: FlaskClient, rows: Rows) -> None:
    text = '{"a": [1.0, 9223372036854775807, "\\u0000\\ud83d\\ude00"], "b":null}'
    job = rows.one(status="completed", result=text, finished_at="=clock_timestamp()")
    assert text.encode() in client.get(f"/jobs/{job}").data


# Waiting


def test_a_wait_ends_with_the_job(client: FlaskClient, rows: Rows) -> None:
    job = rows.one()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.get, f"/jobs/{job}?wait=20")
        wait_until(lambda: _reads(rows), 10, "the wait looks at the job")
        rows.set(job, status="completed", finished_at="=clock_timestamp()")
        answer = waiting.result(10)
    assert (answer.status_code, answer.json["status"]) == (200, "completed")


def _reads(rows: Rows) -> int:
    """Is somebody in the loop of a wait?"""
    return int(rows.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'EXECUTE filter_unfinished%%'") or 0)


def test_a_wait_that_is_over_shows_the_job_as_it_is(client: FlaskClient, rows: Rows) -> None:
    answer = client.get(f"/jobs/{rows.one()}?wait=0.05")
    assert (answer.status_code, answer.json["status"]) == (200, "queued")


def test_a_wait_is_no_longer_than_allowed(make_client: MakeClient, rows: Rows) -> None:
    answer = make_client(wait_max_s=0.05).get(f"/jobs/{rows.one()}?wait=1e9")
    assert answer.status_code == 200


@pytest.mark.parametrize("wait", ["x", "", "-1", "nan", "inf", "1e999", "0x1", "1_0", "%D9%A1", "1&wait=2", "9" * 5000])
def test_a_bad_wait_is_refused(client: FlaskClient, rows: Rows, wait: str) -> None:
    answer = client.get(f"/jobs/{rows.one()}?wait={wait}")
    assert (answer.status_code, answer.json["errors"][0]["path"]) == (422, "wait")


def test_waits_are_bounded_and_end_when_draining(make_client: MakeClient, rows: Rows) -> None:
    client = make_client(api_waiters=2)
    app, job = client.application, rows.one()
    services = context_of(app)
    is_draining = threading.Event()
    services.is_draining = is_draining.is_set
    with ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(app.test_client().get, f"/jobs/{job}?wait=30") for _ in range(2)]
        wait_until(lambda: services.waiters.count == 2, 10, "two requests wait")
        refused = client.get(f"/jobs/{job}?wait=30")
        assert (refused.status_code, refused.json["code"]) == (503, "too_many_waiters")
        assert "Retry-After" in refused.headers
        assert client.get(f"/jobs/{job}").status_code == 200
        is_draining.set()
        assert [wait.result(5).status_code for wait in waits] == [200, 200]
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json["checks"]["draining"]) == (503, True)


# Cancelling


def test_a_queued_job_is_cancelled_at_once_and_for_good(client: FlaskClient, rows: Rows, store: Connection) -> None:
    job = rows.one(run_at="=clock_timestamp()")
    answer = client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
    row = rows.job(job)
    assert row["run_at"] is None
    assert row["failed_at"] == row["finished_at"] is not None
    assert claim(store, open_child(store), [job])[1] == []
    again = client.post(f"/jobs/{job}/cancel")
    assert (again.status_code, again.json) == (200, answer.json)


def test_a_running_job_is_asked_to_stop(client: FlaskClient, rows: Rows, store: Connection) -> None:
    job = rows.one()
    child = open_child(store)
    claim(store, child, [job])
    answer = client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json["status"]) == (202, "running")
    assert answer.json["cancel_requested_at"] is not None
    assert [row[0] for row in run(store, "cancellations_of_worker", worker=child.worker)] == [job]
    assert client.post(f"/jobs/{job}/cancel").json["cancel_requested_at"] == answer.json["cancel_requested_at"]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_finished_job_cannot_be_cancelled(client: FlaskClient, rows: Rows, status: str) -> None:
    job = rows.one(status=status, finished_at="=clock_timestamp()")
    answer = client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json["code"], answer.json["job_status"]) == (409, "job_finished", status)
    assert rows.job(job)["cancel_requested_at"] is None


def test_a_cancel_waits_for_a_claim_under_way(
    client: FlaskClient, rows: Rows, connect: Callable[[], Connection]
) -> None:
    job = rows.one()
    claimer = connect()
    child = open_child(claimer)
    claimer.execute("BEGIN")
    claim(claimer, child, [job])
    with ThreadPoolExecutor(1) as thread:
        cancelling = thread.submit(client.post, f"/jobs/{job}/cancel")
        wait_until(lambda: _has_been_tried(rows), 10, "the cancel waits for the claim")
        claimer.execute("COMMIT")
        answer = cancelling.result(10)
    assert (answer.status_code, answer.json["status"]) == (202, "running")
    assert rows.job(job)["cancel_requested_at"] is not None
    assert rows.value("SELECT worker FROM cancellations") == child.worker


def _has_been_tried(rows: Rows) -> int:
    return int(rows.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'EXECUTE cancel_job%%'"))


def test_cancels_of_a_job_that_somebody_holds_hold_up_nobody(
    make_client: MakeClient, rows: Rows, connect: Callable[[], Connection]
) -> None:
    app = make_client(api_threads=2).application
    held, other = rows.add(2)
    holder = connect()
    holder.execute("BEGIN")
    holder.execute(f"SELECT 1 FROM jobs WHERE id = '{held}' FOR UPDATE")
    with ThreadPoolExecutor(12) as threads:
        cancelling = [threads.submit(app.test_client().post, f"/jobs/{held}/cancel") for _ in range(12)]
        wait_until(lambda: _has_been_tried(rows), 10, "the cancels wait for the holder")
        seen = [app.test_client().get(f"/jobs/{other}").status_code]
        assert not all(each.done() for each in cancelling), "others are answered meanwhile"
        seen += [app.test_client().get(f"/jobs/{other}").status_code for _ in range(29)]
        assert seen == [200] * 30
        assert {each.result(10).status_code for each in cancelling} == {503}
        holder.execute("ROLLBACK")
    assert app.test_client().post(f"/jobs/{held}/cancel").status_code == 200


def test_claim_and_cancel_at_once_never_contradict(client: FlaskClient, rows: Rows, store: Connection) -> None:
    app = client.application
    child, jobs = open_child(store), rows.add(60)
    lease = None
    with ThreadPoolExecutor(2) as threads:
        for job in jobs:
            cancelling = threads.submit(app.test_client().post, f"/jobs/{job}/cancel")
            lease, claimed = claim(store, child, [job], lease=lease)
            answer: Any = cancelling.result(10)
            assert answer.status_code == (202 if claimed else 200)
            assert rows.job(job)["status"] == ("running" if claimed else "cancelled")


# Probes and metrics


def test_probes(client: FlaskClient) -> None:
    assert client.get("/livez").json == {"status": "ok", "checks": {}}
    for path in ("/readyz", "/health"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.json == {"status": "ok", "checks": {"postgres": "ok", "redis": "ok", "draining": False}}


def test_an_outdated_schema_is_not_ready(make_client: MakeClient, empty_pg_url: str) -> None:
    client = make_client(database_url=empty_pg_url)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "migrate" in answer.json["checks"]["postgres"]
    refused = client.post("/jobs", json={"payload": {"type": "demo"}})
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")


def test_postgres_away_is_live_but_not_ready(make_client: MakeClient) -> None:
    client = make_client(database_url="postgresql://nobody@127.0.0.1:1/none")
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["checks"]["postgres"]) == (503, "away")
    assert client.get("/metrics").status_code == 200


def test_metrics_show_depths_and_requests(client: FlaskClient, rows: Rows) -> None:
    client.post("/jobs", json={"payload": {"type": "demo"}, "queue": "seen"})
    page = Samples(client.get("/metrics").text)
    assert page.get("queue_depth", queue="seen") == 1
    assert page.get("queue_depth", queue="default") == 0
    assert page.total("taskhub_jobs_submitted_total", queue="seen", type="demo") >= 1
    assert page.total("taskhub_http_requests_total", route="/jobs", status="202") >= 1


def test_depth_is_counted_in_postgres_while_redis_is_away(make_client: MakeClient, rows: Rows) -> None:
    rows.add(3, queue="a")
    rows.add(2, queue="b", run_at="=clock_timestamp()")
    rows.add(1, queue="b", run_at="=clock_timestamp() + interval '1 h'")
    page = Samples(make_client(redis_url="redis://127.0.0.1:1/0").get("/metrics").text)
    assert (page.get("queue_depth", queue="a"), page.get("queue_depth", queue="b")) == (3, 2)


def test_a_newer_schema_that_allows_this_version_is_ready_and_says_so(client: FlaskClient, rows: Rows) -> None:
    assert "schema" not in client.get("/readyz").json["checks"]
    rows.sql("INSERT INTO schema_migrations VALUES (9998, 'later', 'c', now(), 1)")
    answer = client.get("/readyz")
    assert (answer.status_code, "newer than this version's" in answer.json["checks"]["schema"]) == (200, True)
