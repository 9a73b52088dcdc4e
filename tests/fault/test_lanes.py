"""A submission that must wait for somebody's open transaction holds up only itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskhub import ids
from taskhub.broker.broker import Broker
from taskhub.domain.errors import StoreUnavailableError
from taskhub.domain.new_job import NewJob
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.inserter import Deadline, Inserter
from taskhub.services.submission.submitter import Submitter
from taskhub.store.connection import Connection
from taskhub.store.new_jobs import insert_plain_jobs
from tests.harness.background import Background
from tests.harness.rows import Rows
from tests.waiting import stretched, wait_until

_SOON_S = 1.0
_NOBODY = "00000000-0000-7000-8000-000000000001"


def job(payload: str = '{"type":"t"}', **fields: Any) -> NewJob:
    made = NewJob(ids.new_ids(1)[0], "default", "t", 4, payload, 5, fingerprint="same")
    return made._replace(**fields)


@pytest.fixture
def submitter(pg_url: str, redis_url: str) -> Iterator[Submitter]:
    made = Submitter(
        lambda lock_s, statement_s: Connection(pg_url, lock_s=lock_s, statement_s=statement_s or 5.0),
        Doorbell(Broker(redis_url, timeout_s=0.1)),
    )
    made.submit([job()])
    made.submit([job(unique_key="warm")])
    yield made
    made.close()


@pytest.fixture
def holder(pg_url: str) -> Iterator[Rows]:
    """Somebody's session, with a transaction open."""
    session = Rows(pg_url)
    session.sql("BEGIN")
    yield session
    session.close()


def trigger(rows: Rows, body: str) -> None:
    """A trigger of the user's own on the jobs that say so."""
    rows.sql(
        "CREATE FUNCTION users_own() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF new.payload::text LIKE '%%slow%%' THEN {body} END IF; RETURN new; END $$"
    )
    rows.sql("CREATE TRIGGER users_own BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION users_own()")


HOLDS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "a unique key": ([f"INSERT INTO unique_keys VALUES ('held', '{_NOBODY}')"], {"unique_key": "held"}),
    "an idempotency key": (
        [f"INSERT INTO idempotency_keys VALUES ('held', 'x', '{_NOBODY}', now() + interval '1 day')"],
        {"idempotency_key": "held"},
    ),
    "a new queue": (["INSERT INTO queues (name) VALUES ('new')"], {"queue": "new"}),
    "an advisory lock": (["SELECT pg_advisory_xact_lock(7)"], {"payload": '{"type":"t","slow":1}'}),
    "a table of the user's": (["LOCK TABLE theirs"], {"payload": '{"type":"t","slow":1}'}),
    "a row that sleeps": ([], {"payload": '{"type":"t","slow":1}'}),
}
_BODIES = {
    "an advisory lock": "PERFORM pg_advisory_xact_lock(7);",
    "a table of the user's": "INSERT INTO theirs VALUES (1);",
    "a row that sleeps": "PERFORM pg_sleep(3);",
}


@pytest.mark.parametrize("held", HOLDS)
def test_one_blocked_row_holds_up_only_itself(submitter: Submitter, rows: Rows, holder: Rows, held: str) -> None:
    rows.sql("CREATE TABLE theirs (n int)")
    if held in _BODIES:
        trigger(rows, _BODIES[held])
    hold, fields = HOLDS[held]
    for statement in hold:
        holder.sql(statement)
    blocked = [Background(submitter.submit, [job(**fields)]) for _ in range(2)]
    for number in range(6):
        for own in ({}, {"unique_key": f"own{number}"}, {"idempotency_key": f"own{number}"}):
            assert _took_s(submitter, job(**own)) < stretched(_SOON_S)
    assert _took_s(submitter, job(type="other", payload='{"type":"other"}')) < stretched(_SOON_S)
    outcomes = [_is_refused(each) for each in blocked]
    assert all(outcomes) or (held == "a new queue" and any(outcomes)), "one waits there for all"
    holder.sql("ROLLBACK")
    if held != "a row that sleeps":
        assert _took_s(submitter, job(**fields)) < stretched(_SOON_S)


def _is_refused(submitting: Background) -> bool:
    try:
        submitting.result(3)
    except StoreUnavailableError:
        return True
    return False


def _took_s(submitter: Submitter, submission: NewJob) -> float:
    began = time.monotonic()
    submitter.submit([submission])
    return time.monotonic() - began


def test_a_row_that_is_let_go_in_time_is_accepted(submitter: Submitter, holder: Rows, rows: Rows) -> None:
    holder.sql(f"INSERT INTO unique_keys VALUES ('held', '{_NOBODY}')")
    waiting = Background(submitter.submit, [job(unique_key="held")])
    wait_until(lambda: _patient(rows), 5, "it waits for itself")
    holder.sql("ROLLBACK")
    assert waiting.result(2)[0].kind == "created"


def _patient(rows: Rows) -> Any:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND now() - query_start > '0.3 s'"
    return rows.value(asked)


def test_of_many_blocked_rows_a_few_wait_and_the_rest_hear_it_at_once(submitter: Submitter, holder: Rows) -> None:
    for number in range(12):
        holder.sql("INSERT INTO unique_keys VALUES (%s, %s)", f"held{number}", _NOBODY)
    blocked = [Background(_refused_after_s, submitter, job(unique_key=f"held{number}")) for number in range(12)]
    assert _took_s(submitter, job()) < stretched(_SOON_S)
    assert _took_s(submitter, job(unique_key="free")) < stretched(_SOON_S)
    took_s = sorted(each.result(4) for each in blocked)
    assert took_s[7] < stretched(0.9), "all but four are told at once"
    assert took_s[-1] < stretched(2.2), "and those in time"
    holder.sql("ROLLBACK")
    assert _took_s(submitter, job(unique_key="held1")) < stretched(_SOON_S)


def _refused_after_s(submitter: Submitter, submission: NewJob) -> float:
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        submitter.submit([submission])
    return time.monotonic() - began


def test_a_lock_on_all_jobs_is_told_in_time_and_forgotten_at_once(submitter: Submitter, holder: Rows) -> None:
    holder.sql("LOCK TABLE jobs")
    refused = [Background(_refused_after_s, submitter, job(**own)) for own in ({}, {"unique_key": "a"}) * 3]
    assert max(each.result(4) for each in refused) < 2.2
    holder.sql("ROLLBACK")
    assert _took_s(submitter, job()) < stretched(0.5)
    assert _took_s(submitter, job(unique_key="a")) < stretched(0.5)


def test_small_requests_do_not_wait_for_a_large_one(submitter: Submitter, rows: Rows) -> None:
    trigger(rows, "PERFORM pg_sleep(0.2);")
    large = [job('{"type":"t","slow":1}') for _ in range(4)] + [job() for _ in range(500)]
    bulk = Background(submitter.submit, large)
    running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    wait_until(lambda: rows.value(running), 5, "the large request is under way")
    assert max(_took_s(submitter, job()) for _ in range(10)) < stretched(0.3)
    assert rows.value(running), "and it is still"
    assert len(bulk.result(10)) == 504


def test_a_flush_that_takes_long_holds_up_only_itself(submitter: Submitter, rows: Rows) -> None:
    """The next begins on another connection."""
    trigger(rows, "PERFORM pg_sleep(0.5);")
    slow = Background(submitter.submit, [job('{"type":"t","slow":1}', type="slow")])
    wait_until(lambda: rows.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), 5, "it sleeps")
    submitted = 0
    while not slow.has_ended():
        submitter.submit([job()])
        submitted += 1
    assert submitted > 2, "they waited for the slow one"
    assert slow.result(3)[0].kind == "created"


def test_known_queues_are_asked_for_again_after_a_reconnect_and_after_a_while(
    pg_url: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored database may not know them."""
    inserter = Inserter(Connection(pg_url))
    assert inserter.insert(insert_plain_jobs, [job()], Deadline.of(time.monotonic(), []))
    for forget in (
        inserter.store.close,
        lambda: monkeypatch.setattr("taskhub.services.submission.inserter._KNOWN_FOR_S", 0.0),
    ):
        rows.sql("DELETE FROM marks")
        rows.sql("DELETE FROM queues")
        inserter.insert(insert_plain_jobs, [job()], Deadline.of(time.monotonic(), []))
        assert rows.value("SELECT count(*) FROM marks") == 0
        forget()
        inserter.insert(insert_plain_jobs, [job()], Deadline.of(time.monotonic(), []))
        assert rows.value("SELECT count(*) FROM marks") == 1
    inserter.close()


REFUSALS = {
    "an exception": "RAISE EXCEPTION 'not on a %', 'Sunday';",
    "a code of its own": "RAISE EXCEPTION 'mine' USING ERRCODE = 'MY001';",
    "a constraint": "INSERT INTO theirs VALUES (NULL);",
    "a division": "PERFORM 1 / 0;",
    "a row dropped in silence": "RETURN NULL;",
}


@pytest.mark.parametrize(
    "fields", [{}, {"unique_key": "u"}, {"idempotency_key": "i"}], ids=["plain", "unique", "keyed"]
)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_row_that_a_rule_of_the_database_refuses_is_told_so(
    submitter: Submitter, rows: Rows, refusal: str, fields: dict[str, Any]
) -> None:
    rows.sql("CREATE TABLE theirs (n int NOT NULL)")
    trigger(rows, REFUSALS[refusal])
    refused = Background(submitter.submit, [job(payload='{"type":"t","slow":1}', **fields)])
    others = [Background(submitter.submit, [job(**own)]) for own in ({}, {"unique_key": "o"}, {"idempotency_key": "o"})]
    assert [each.kind for each in refused.result(3)] == ["job_refused"]
    for each in others:
        assert [each.kind for each in each.result(3)] == ["created"]
    several = submitter.submit([job(), job(payload='{"type":"t","slow":1}', **dict.fromkeys(fields, "2"))])
    assert several[1].kind == "job_refused"
