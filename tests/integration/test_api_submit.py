"""POST /jobs and POST /jobs/bulk over real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from marshmallow import Schema, fields
from redis import Redis

from taskhub.api.app import context_of, create_app
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.handlers import registry as registries
from taskhub.handlers.registry import Handler, Registry
from taskhub.settings.fields import Settings
from tests.harness.rows import Rows

MakeClient = Callable[..., FlaskClient]

_KEYS = {
    "id", "type", "queue", "priority", "status", "payload", "result", "attempts", "max_attempts", "crashes",
    "interruptions", "replays", "timeout_s", "tags", "unique_key", "run_at", "expires_at", "failure_reason", "error",
    "worker", "created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at",
}  # fmt: skip


class _Item(Schema):
    name = fields.String(required=True)


class _Order(Schema):
    amount = fields.Integer(required=True, strict=True)
    items = fields.List(fields.Nested(_Item), load_default=list)


class _Broken(Schema):
    @staticmethod
    def validate(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug of the installation's own")


@pytest.fixture(scope="module")
def registry() -> Registry:
    known = registries.load([])
    made = Registry()
    for handler in known.handlers():
        made.add(handler)
    made.add(Handler("order", lambda job: None, schema=_Order(), queue="orders", priority=7, max_attempts=2))
    made.add(Handler("broken", lambda job: None, schema=_Broken()))
    return made


@pytest.fixture
def make_client(settings: Callable[..., Settings], registry: Registry) -> Iterator[MakeClient]:
    apps = []

    def make(**changes: object) -> FlaskClient:
        app = create_app(settings(**changes), registry)
        apps.append(app)
        return app.test_client()

    yield make
    for app in apps:
        context_of(app).close()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()


def post(client: FlaskClient, body: Any, path: str = "/jobs", **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data=data, headers={"Content-Type": "application/json", **named})


def refused(answer: Any, status: int, code: str) -> dict[str, str]:
    """Check a problem; returns its messages by path."""
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.data
    assert answer.mimetype == "application/problem+json"
    assert set(answer.json) >= {"type", "title", "status", "code", "detail", "request_id"}
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return {each["path"]: each["message"] for each in answer.json.get("errors", [])}


# What is accepted


def test_a_job_is_committed_rung_and_shown(client: FlaskClient, rows: Rows, broker: Broker) -> None:
    answer = post(client, {"payload": {"type": "demo", "value": 123}})
    assert answer.status_code == 202
    job = answer.json
    assert set(job) == _KEYS
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["payload"], job["queue"], job["priority"]) == (
        "queued", {"type": "demo", "value": 123}, "default", 4,
    )  # fmt: skip
    assert client.get(answer.headers["Location"]).json == job
    assert rows.job(job["id"])["status"] == "queued"
    assert broker.tails([("default", 4)])["default", 4] == job["id"]


def test_every_field_is_kept(client: FlaskClient, rows: Rows) -> None:
    told = {
        "queue": "q.1", "priority": 9, "max_attempts": 100, "timeout_s": 1.5, "run_at": "2031-02-03T04:05:06.789+02:00",
        "expires_at": "2032-01-01T00:00:00Z", "unique_key": "a b".replace(" ", "-"), "tags": ["x", "y z", 'q"\\{,}'],
    }  # fmt: skip
    job = post(client, {"payload": {"type": "echo"}, **told}).json
    shown = {name: job[name] for name in told}
    assert shown == {**told, "run_at": "2031-02-03T02:05:06.789Z"}
    assert client.get(f"/jobs/{job['id']}").json == job
    assert rows.job(job["id"])["tags"] == told["tags"]


def test_a_type_gives_defaults(client: FlaskClient) -> None:
    job = post(client, {"payload": {"type": "order", "amount": 1}}).json
    assert (job["queue"], job["priority"], job["max_attempts"]) == ("orders", 7, 2)
    job = post(client, {"payload": {"type": "order", "amount": 1}, "queue": "x", "priority": 0, "max_attempts": 9}).json
    assert (job["queue"], job["priority"], job["max_attempts"]) == ("x", 0, 9)


def test_a_misspelt_field_is_told_with_the_one_that_was_meant(client: FlaskClient) -> None:
    problems = refused(post(client, {"payload": {"type": "demo"}, "prioritty": 1, "zzz": 1}), 422, "invalid_request")
    assert problems == {"prioritty": "is not a field; did you mean priority?", "zzz": "is not a field"}


def test_fields_that_are_null_count_as_not_given(client: FlaskClient) -> None:
    body = {"payload": {"type": "demo"}, "queue": None, "priority": None, "tags": None, "run_at": None}
    assert post(client, body).json["queue"] == "default"


def test_a_delayed_job_is_not_rung(client: FlaskClient, rows: Rows, broker: Broker) -> None:
    job = post(client, {"payload": {"type": "demo"}, "delay_s": 60}).json
    row = rows.job(job["id"])
    assert (row["run_at"] - row["created_at"]).total_seconds() == pytest.approx(60)
    assert broker.depths(["default"]) == {"default": 0}
    assert post(client, {"payload": {"type": "demo"}, "run_at": "2031-01-01T00:00:00Z"}).status_code == 202
    assert broker.depths(["default"]) == {"default": 0}


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"demo","a":"\\u0000\\u001f\\u007f\\u2028"}',
        '{"type":"demo","a":"\\ud83d\\ude00 \N{SNOWMAN} <script>"}',
        '{"type":"demo","a":[9223372036854775807,-9223372036854775808,1e300,-0.0,0.1,1.0,5e-324]}',
        '{"type":"demo","":{"":[[],{}]},"id":null,"__proto__":1,"constructor":"x"}',
        '{"type":"demo","a":"\'; DROP TABLE jobs; --","b":"%s %(x)s $1 :id \\\\"}',
    ],
)
def test_a_payload_comes_back_as_it_was_sent(client: FlaskClient, text: str) -> None:
    answer = post(client, f'{{"payload":{text}}}'.encode())
    assert answer.status_code == 202
    assert answer.json["payload"] == json.loads(text)
    assert repr(client.get(f"/jobs/{answer.json['id']}").json["payload"]) == repr(json.loads(text))


def test_redis_away_still_accepts(make_client: MakeClient, rows: Rows) -> None:
    client = make_client(redis_url="redis://127.0.0.1:1/0")
    job = post(client, {"payload": {"type": "demo"}})
    assert job.status_code == 202
    assert rows.job(job.json["id"])["status"] == "queued"
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["checks"]["redis"]) == (200, "away")


# What is refused


_BAD_ENVELOPES: list[tuple[Any, str]] = [
    ([], ""),
    ("x", ""),
    (None, ""),
    ({}, "payload"),
    ({"payload": None}, "payload"),
    ({"payload": []}, "payload"),
    ({"payload": {}}, "payload.type"),
    ({"payload": {"type": None}}, "payload.type"),
    ({"payload": {"type": 5}}, "payload.type"),
    ({"payload": {"type": "Demo!"}}, "payload.type"),
    ({"payload": {"type": "demo"}, "quue": "x"}, "quue"),
    ({"payload": {"type": "demo"}, "\x00\n": 1}, "\\x00\\n"),
    ({"payload": {"type": "demo"}, "queue": ""}, "queue"),
    ({"payload": {"type": "demo"}, "queue": "a" * 65}, "queue"),
    ({"payload": {"type": "demo"}, "queue": "a}b"}, "queue"),
    ({"payload": {"type": "demo"}, "queue": "a\n"}, "queue"),
    ({"payload": {"type": "demo"}, "priority": 10}, "priority"),
    ({"payload": {"type": "demo"}, "priority": -1}, "priority"),
    ({"payload": {"type": "demo"}, "priority": True}, "priority"),
    ({"payload": {"type": "demo"}, "priority": 4.0}, "priority"),
    ({"payload": {"type": "demo"}, "priority": "4"}, "priority"),
    ({"payload": {"type": "demo"}, "max_attempts": 0}, "max_attempts"),
    ({"payload": {"type": "demo"}, "max_attempts": 101}, "max_attempts"),
    ({"payload": {"type": "demo"}, "timeout_s": 0}, "timeout_s"),
    ({"payload": {"type": "demo"}, "timeout_s": False}, "timeout_s"),
    ({"payload": {"type": "demo"}, "timeout_s": 1e300}, "timeout_s"),
    ({"payload": {"type": "demo"}, "delay_s": -1}, "delay_s"),
    ({"payload": {"type": "demo"}, "delay_s": 365 * 86_400 + 1}, "delay_s"),
    ({"payload": {"type": "demo"}, "delay_s": 1, "run_at": "2030-01-01T00:00:00Z"}, "delay_s"),
    ({"payload": {"type": "demo"}, "run_at": "2030-01-01T00:00:00"}, "run_at"),
    ({"payload": {"type": "demo"}, "run_at": "2030-02-30T00:00:00Z"}, "run_at"),
    ({"payload": {"type": "demo"}, "run_at": "0001-01-01T00:00:00+23:59"}, "run_at"),
    ({"payload": {"type": "demo"}, "run_at": "9999-12-31T23:59:59-23:59"}, "run_at"),
    ({"payload": {"type": "demo"}, "run_at": "infinity"}, "run_at"),
    ({"payload": {"type": "demo"}, "run_at": 1893456000}, "run_at"),
    ({"payload": {"type": "demo"}, "expires_at": "tomorrow"}, "expires_at"),
    ({"payload": {"type": "demo"}, "unique_key": ""}, "unique_key"),
    ({"payload": {"type": "demo"}, "unique_key": "x" * 256}, "unique_key"),
    ({"payload": {"type": "demo"}, "unique_key": "\x00"}, "unique_key"),
    ({"payload": {"type": "demo"}, "tags": "x"}, "tags"),
    ({"payload": {"type": "demo"}, "tags": ["x"] * 21}, "tags"),
    ({"payload": {"type": "demo"}, "tags": ["\x00"]}, "tags"),
    ({"payload": {"type": "demo"}, "tags": [1]}, "tags"),
]


def test_bad_envelopes_are_refused_by_path(client: FlaskClient, rows: Rows) -> None:
    for body, path in _BAD_ENVELOPES:
        assert path in refused(post(client, body), 422, "invalid_request"), body
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_all_problems_are_told_at_once(client: FlaskClient) -> None:
    problems = refused(post(client, {"queue": "!", "priority": 99, "x": 1}), 422, "invalid_request")
    assert set(problems) == {"payload", "queue", "priority", "x"}


def test_an_unknown_type_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    answer = post(client, {"payload": {"type": "nope"}})
    assert "payload.type" in refused(answer, 422, "unknown_type")
    for known in ("demo", "echo", "fail", "order", "sleep"):
        assert known in answer.json["detail"]


def test_the_types_schema_is_checked_without_type(client: FlaskClient) -> None:
    assert post(client, {"payload": {"type": "order", "amount": 3, "items": [{"name": "a"}]}}).status_code == 202
    answer = post(client, {"payload": {"type": "order", "amount": "3", "items": [{"name": "a"}, {}], "more": 1}})
    problems = refused(answer, 422, "invalid_payload")
    assert set(problems) == {"payload.amount", "payload.items.1.name", "payload.more"}


def test_a_schema_that_fails_refuses_the_payload(client: FlaskClient) -> None:
    assert "payload" in refused(post(client, {"payload": {"type": "broken"}}), 422, "invalid_payload")


def test_bodies_are_bounded(make_client: MakeClient) -> None:
    client = make_client(max_body_bytes=2000, max_bulk_bytes=5000)
    text = b'{"payload":{"type":"demo","x":"%s"}}'
    assert post(client, text % (b"x" * 1900)).status_code == 202
    refused(post(client, text % (b"x" * 2000)), 413, "body_too_large")
    refused(post(client, b'{"jobs":[%s]}' % (text % (b"x" * 5000)), "/jobs/bulk"), 413, "body_too_large")
    answer = post(client, b'{"jobs":[%s]}' % (text % (b"x" * 3000)), "/jobs/bulk")
    assert "jobs.0.payload" in refused(answer, 422, "invalid_payload")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_only_json_is_read(client: FlaskClient, kind: str) -> None:
    answer = client.post("/jobs", data=b'{"payload":{"type":"demo"}}', headers={"Content-Type": kind})
    refused(answer, 415, "unsupported_media_type")


def test_encoded_bodies_are_refused(client: FlaskClient) -> None:
    refused(post(client, b"\x1f\x8b", Content_Encoding="gzip"), 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/", "/nope", "/jobs/", "//jobs", "/jobs/x/y", "/jobs/%00", "/jobs/..%2f..%2fetc"])
def test_unknown_paths_are_problems_too(client: FlaskClient, path: str) -> None:
    refused(client.get(path), 404, "not_found")


def test_wrong_methods_name_the_right_ones(client: FlaskClient) -> None:
    answer = client.delete("/jobs/bulk")
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(("given", "is_kept"), [("abc-123_X.y", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_sane_request_id_is_kept(client: FlaskClient, given: str, is_kept: bool) -> None:
    found = post(client, {"payload": {"type": "demo"}}, X_Request_Id=given).headers["X-Request-Id"]
    assert (found == given) == is_kept


# Bulk


def test_bulk_commits_all_in_order(client: FlaskClient, rows: Rows, broker: Broker) -> None:
    jobs = [{"payload": {"type": "demo", "n": n}, "priority": n % 2} for n in range(1200)]
    answer = post(client, {"jobs": jobs}, "/jobs/bulk")
    assert answer.status_code == 202
    found = rows.jobs(answer.json["ids"])
    assert [row["payload"]["n"] for row in found] == list(range(1200))
    assert broker.depths(["default"]) == {"default": 1200}


def test_bulk_commits_nothing_if_one_job_is_bad(client: FlaskClient, rows: Rows) -> None:
    jobs: list[Any] = [
        {"payload": {"type": "demo"}},
        {"payload": {"type": "order", "amount": "x"}},
        {"payload": {"type": "order"}},
    ]
    problems = refused(post(client, {"jobs": jobs}, "/jobs/bulk"), 422, "invalid_payload")
    assert set(problems) == {"jobs.1.payload.amount", "jobs.2.payload.amount"}
    jobs = [{"payload": {"type": "demo"}}, 5, {"payload": {"type": "demo"}, "x": 1}]
    problems = refused(post(client, {"jobs": jobs}, "/jobs/bulk"), 422, "invalid_request")
    assert set(problems) == {"jobs.1", "jobs.2.x"}
    assert rows.value("SELECT count(*) FROM jobs") == 0


@pytest.mark.parametrize("body", [[], {}, {"jobs": {}}, {"jobs": []}, {"jobs": [1], "x": 1}, {"jobs": [{}] * 10_001}])
def test_bad_bulk_requests_are_refused(client: FlaskClient, body: Any) -> None:
    refused(post(client, body, "/jobs/bulk"), 422, "invalid_request")


def test_bulk_has_no_idempotency_key(client: FlaskClient) -> None:
    answer = post(client, {"jobs": [{"payload": {"type": "demo"}}]}, "/jobs/bulk", Idempotency_Key="k")
    refused(answer, 400, "invalid_header")


def test_unique_keys_in_bulk_stand_for_their_holders(client: FlaskClient, rows: Rows) -> None:
    held = post(client, {"payload": {"type": "demo"}, "unique_key": "held"}).json["id"]
    jobs = [
        {"payload": {"type": "demo"}, **({"unique_key": key} if key else {})} for key in ("a", "held", "a", None, "b")
    ]
    found = post(client, {"jobs": jobs}, "/jobs/bulk").json["ids"]
    assert found[0] == found[2]
    assert found[1] == held
    assert len(set(found)) == 4
    assert rows.value("SELECT count(*) FROM jobs") == 4


# Idempotency-Key


def test_the_same_key_is_the_same_job(client: FlaskClient, rows: Rows) -> None:
    first = post(client, b'{"payload":{"type":"demo","a":1,"b":2}}', Idempotency_Key="k-1")
    assert first.status_code == 202
    assert "Idempotent-Replayed" not in first.headers
    again = post(client, b' {"payload": {"b":2,"a":1,"type":"demo"} }', Idempotency_Key="k-1")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json == first.json
    refused(post(client, {"payload": {"type": "demo"}}, Idempotency_Key="k-1"), 422, "idempotency_mismatch")
    assert rows.value("SELECT count(*) FROM jobs") == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_bad_keys_are_refused(client: FlaskClient, key: str) -> None:
    refused(post(client, {"payload": {"type": "demo"}}, Idempotency_Key=key), 400, "invalid_header")


def test_fifty_requests_at_once_with_one_key_are_one_job(client: FlaskClient, rows: Rows, redis: Redis) -> None:
    app = client.application
    body = {"payload": {"type": "demo"}}
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: post(app.test_client(), body, Idempotency_Key="one"), range(50)))
    assert sorted({answer.status_code for answer in answers}) == [200, 202]
    assert [answer.status_code for answer in answers].count(202) == 1
    assert len({answer.json["id"] for answer in answers}) == 1
    assert rows.value("SELECT count(*) FROM jobs") == 1
    assert redis.llen(key_names.ready("default", 4)) == 1


def test_a_key_whose_job_was_deleted_runs_nothing_again(client: FlaskClient, rows: Rows) -> None:
    body = {"payload": {"type": "demo"}}
    job = post(client, body, Idempotency_Key="gone").json["id"]
    rows.sql("DELETE FROM jobs WHERE id = %s", job)
    refused(post(client, body, Idempotency_Key="gone"), 409, "idempotency_in_progress")
    assert rows.value("SELECT count(*) FROM jobs") == 0


# unique_key


def test_a_unique_key_is_held_until_its_job_ends(client: FlaskClient, rows: Rows) -> None:
    body = {"payload": {"type": "demo"}, "unique_key": "nightly"}
    first = post(client, body)
    assert first.status_code == 202
    second = post(client, body)
    assert (second.status_code, second.json["duplicate"], second.json["id"]) == (200, True, first.json["id"])
    rows.set(first.json["id"], status="running")
    assert post(client, body).json["id"] == first.json["id"]
    for status in ("completed", "failed", "cancelled"):
        rows.set(_holder(rows), status=status)
        fresh = post(client, body)
        assert fresh.status_code == 202
        assert _holder(rows) == fresh.json["id"]


def _holder(rows: Rows) -> str:
    return str(rows.value("SELECT job_id FROM unique_keys"))


def test_a_unique_key_whose_job_was_deleted_is_free(client: FlaskClient, rows: Rows) -> None:
    body = {"payload": {"type": "demo"}, "unique_key": "nightly"}
    rows.sql("DELETE FROM jobs WHERE id = %s", post(client, body).json["id"])
    assert post(client, body).status_code == 202


def test_many_at_once_with_one_unique_key_are_one_job(make_client: MakeClient, rows: Rows) -> None:
    apps = [make_client().application, make_client().application]  # two processes' worth of lanes
    body = {"payload": {"type": "demo"}, "unique_key": "u"}
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: post(apps[n % 2].test_client(), body), range(60)))
    assert [answer.status_code for answer in answers].count(202) == 1
    assert {answer.json["id"] for answer in answers} == {_holder(rows)}
    assert rows.value("SELECT count(*) FROM jobs") == 1


def test_both_keys_together(client: FlaskClient, rows: Rows) -> None:
    body = {"payload": {"type": "demo"}, "unique_key": "u"}
    first = post(client, body, Idempotency_Key="a")
    assert first.status_code == 202
    other = post(client, body, Idempotency_Key="b")
    assert (other.status_code, other.json["duplicate"]) == (200, True)
    rows.set(first.json["id"], status="completed")
    for key in ("a", "b"):  # each stands for the job that it was answered with, for a day
        replayed = post(client, body, Idempotency_Key=key)
        assert (replayed.json["id"], replayed.headers.get("Idempotent-Replayed")) == (first.json["id"], "true")
    assert post(client, body, Idempotency_Key="c").status_code == 202


def test_mixed_keys_at_once_never_fail(make_client: MakeClient, rows: Rows) -> None:
    apps = [make_client().application, make_client().application]

    def send(n: int) -> Any:
        headers = {"Idempotency_Key": f"i{n % 7}"} if n % 3 else {}
        body = {"payload": {"type": "demo", "k": n % 7}, **({"unique_key": f"u{n % 5}"} if n % 4 == 0 else {})}
        return post(apps[n % 2].test_client(), body, **headers)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(send, range(300)))
    assert {answer.status_code for answer in answers} <= {200, 202, 422}
    created = {answer.json["id"] for answer in answers if answer.status_code == 202}
    assert rows.value("SELECT count(*) FROM jobs") == len(created)
    shown = {answer.json["id"] for answer in answers if answer.status_code == 200}
    assert shown <= created


# Limits


def test_a_full_queue_refuses_more(make_client: MakeClient, rows: Rows) -> None:
    client = make_client(queue_max_depth=3)
    assert post(client, {"jobs": [{"payload": {"type": "demo"}}] * 3}, "/jobs/bulk").status_code == 202
    full = make_client(queue_max_depth=3)
    answer = post(full, {"payload": {"type": "demo"}})
    refused(answer, 429, "queue_full")
    assert answer.json["depth"] == 3
    assert int(answer.headers["Retry-After"]) >= 1
    assert post(full, {"payload": {"type": "demo"}, "queue": "other"}).status_code == 202
    refused(post(full, {"jobs": [{"payload": {"type": "demo"}}]}, "/jobs/bulk"), 429, "queue_full")


def test_a_late_queue_refuses_more(make_client: MakeClient, rows: Rows) -> None:
    rows.add(1, created_at="=clock_timestamp() - interval '1 h'", run_at="=clock_timestamp() - interval '1 h'")
    client = make_client(queue_max_age_s=60)
    refused(post(client, {"payload": {"type": "demo"}}), 429, "queue_full")
    assert post(client, {"payload": {"type": "demo"}, "queue": "other"}).status_code == 202
