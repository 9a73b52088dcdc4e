"""The claiming statements: who gets a job, who does not, and what a claim leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskhub import ids
from taskhub.store.connection import Connection, Row
from tests.harness.background import Background
from tests.harness.rows import Child, Rows, claim, open_child, run

MOST_BYTES = 1 << 40


@pytest.fixture
def child(store: Connection) -> Child:
    return open_child(store)


def settle_and_claim(store: Connection, child: Child, **arguments: Any) -> list[Row]:
    chosen: dict[str, Any] = {"queue": "default", "claim_lease": ids.new_token(), "most_bytes": MOST_BYTES}
    return run(store, "settle_and_claim", **{**chosen, **child._asdict(), **arguments})


def header(found: list[Row]) -> dict[str, Any]:
    """The first row of a claim."""
    settled, slot_open, paused, *job = found[0]
    assert set(job) == {None}
    return {"settled": settled, "open": slot_open, "paused": paused}


def claimed_ids(found: list[Row]) -> set[str]:
    return {job_id for _, _, _, job_id, *_ in found[1:]}


# settle_and_claim: what a claim does


def test_a_claim_takes_queued_jobs_and_says_so_in_job_and_slot(store: Connection, rows: Rows, child: Child) -> None:
    made = rows.add(3, payload='{"type":"echo","n":1}')
    lease, found = claim(store, child, made)
    assert {row[0] for row in found} == set(made)
    assert found[0][1:] == ["echo", 1, 5, 0, 0, None, '{"type":"echo","n":1}']
    for row in rows.jobs(made):
        assert (row["status"], row["attempts"], row["lease"]) == ("running", 1, lease)
        assert (row["worker"], row["slot"], row["run_at"]) == (child.worker, child.slot, None)
        assert row["started_at"] is not None
    slot = rows.slot(child)
    assert slot is not None
    assert (set(slot["ids"].strip("{}").split(",")), slot["lease"]) == (set(made), lease)


def test_the_last_batch_is_completed_in_the_same_round_trip(store: Connection, rows: Rows, child: Child) -> None:
    first, second = rows.add(2), rows.add(2)
    lease, _ = claim(store, child, first)
    found = settle_and_claim(
        store, child, lease=lease, claim=second,
        ids=first, results=['{"n": 1.50}', None],
        started_us_ago=[2_000_000, 1_000_000], finished_us_ago=[500_000, 250_000],
    )  # fmt: skip
    assert header(found) == {"settled": 2, "open": 1, "paused": 0}
    assert claimed_ids(found) == set(second)
    done = rows.jobs(first)
    assert [row["status"] for row in done] == ["completed", "completed"]
    assert [row["result"] for row in done] == [{"n": 1.5}, None]
    assert rows.value("SELECT result::text FROM jobs WHERE id = %s", first[0]) == '{"n": 1.50}'
    assert (done[0]["finished_at"] - done[0]["started_at"]).total_seconds() == pytest.approx(1.5, abs=0.001)
    assert done[0]["failed_at"] is None
    assert done[0]["error"] is None


def test_a_retried_job_that_completes_keeps_its_count_of_attempts(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(attempts=2, run_at="=clock_timestamp()")
    _, [found] = claim(store, child, [job])
    assert found[2] == 3
    assert rows.job(job)["run_at"] is None


# settle_and_claim: what a claim must not take


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_finished_job_is_not_claimed(store: Connection, rows: Rows, child: Child, status: str) -> None:
    job = rows.one(status=status)
    assert claim(store, child, [job])[1] == []
    assert rows.job(job)["status"] == status


def test_a_job_that_runs_elsewhere_is_not_claimed(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, open_child(store), [job])
    assert claim(store, child, [job])[1] == []
    assert (rows.job(job)["lease"], rows.job(job)["attempts"]) == (lease, 1)


def test_a_job_of_the_future_is_not_claimed(store: Connection, rows: Rows, child: Child) -> None:
    early, due = (
        rows.one(run_at="=clock_timestamp() + interval '1 s'"),
        rows.one(run_at="=clock_timestamp() - interval '1 s'"),
    )
    assert [row[0] for row in claim(store, child, [early, due])[1]] == [due]
    assert rows.job(early)["run_at"] is not None


def test_an_expired_job_is_not_claimed(store: Connection, rows: Rows, child: Child) -> None:
    gone, alive = rows.one(expires_at="=clock_timestamp()"), rows.one(expires_at="=clock_timestamp() + interval '1 h'")
    assert [row[0] for row in claim(store, child, [gone, alive])[1]] == [alive]


def test_an_unknown_id_is_ignored(store: Connection, child: Child) -> None:
    assert claim(store, child, [ids.new_ids(1)[0]])[1] == []


def test_a_paused_queue_claims_nothing_but_still_settles(store: Connection, rows: Rows, child: Child) -> None:
    held, waiting = rows.one(), rows.one()
    lease, _ = claim(store, child, [held])
    rows.sql("UPDATE queues SET paused = true")
    found = settle_and_claim(store, child, lease=lease, claim=[waiting], ids=[held], results=[None],
                             started_us_ago=[0], finished_us_ago=[0])  # fmt: skip
    assert header(found) == {"settled": 1, "open": 1, "paused": 1}
    assert rows.statuses([held, waiting]) == ["completed", "queued"]
    slot = rows.slot(child)
    assert slot is not None
    assert slot["lease"] == lease


def test_a_closed_slot_claims_nothing_but_still_settles(store: Connection, rows: Rows, child: Child) -> None:
    held, waiting = rows.one(), rows.one()
    lease, _ = claim(store, child, [held])
    run(store, "close_slot", **child._asdict())
    found = settle_and_claim(store, child, lease=lease, claim=[waiting], ids=[held], results=[None],
                             started_us_ago=[0], finished_us_ago=[0])  # fmt: skip
    assert header(found) == {"settled": 1, "open": 0, "paused": 0}
    assert rows.statuses([held, waiting]) == ["completed", "queued"]


@pytest.mark.parametrize("change", [{"generation": 2}, {"slot": 1}, {"worker": ids.new_token()}])
def test_a_slot_that_nobody_opened_claims_nothing(
    store: Connection, rows: Rows, child: Child, change: dict[str, Any]
) -> None:
    job = rows.one()
    assert header(settle_and_claim(store, child._replace(**change), claim=[job]))["open"] == 0
    assert rows.job(job)["status"] == "queued"


# settle_and_claim: repeated and late sendings


def test_a_claim_sent_twice_counts_one_attempt(store: Connection, rows: Rows, child: Child) -> None:
    made, token = rows.add(2), ids.new_token()
    first = settle_and_claim(store, child, claim=made, claim_lease=token)
    second = settle_and_claim(store, child, claim=made, claim_lease=token)
    assert claimed_ids(first) == claimed_ids(second) == set(made)
    assert [row["attempts"] for row in rows.jobs(made)] == [1, 1]


def test_a_settlement_sent_twice_changes_nothing_more(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    token = ids.new_token()
    batch: dict[str, Any] = {
        "lease": lease,
        "ids": [job],
        "results": ["1"],
        "started_us_ago": [0],
        "finished_us_ago": [0],
    }
    assert header(settle_and_claim(store, child, claim_lease=token, **batch))["settled"] == 1
    before = rows.job(job)
    assert header(settle_and_claim(store, child, claim_lease=token, **batch))["settled"] == 0
    assert rows.job(job) == before


def test_a_claim_that_arrives_after_a_later_one_claims_nothing(store: Connection, rows: Rows, child: Child) -> None:
    delayed, later = rows.one(), rows.one()
    lease, _ = claim(store, child, [later])
    assert header(settle_and_claim(store, child, claim=[delayed], lease=None))["open"] == 0
    slot = rows.slot(child)
    assert slot is not None
    assert slot["lease"] == lease
    assert rows.job(delayed)["status"] == "queued"


def test_a_lost_lease_settles_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    rows.set(job, lease=ids.new_token())
    found = settle_and_claim(
        store, child, lease=lease, ids=[job], results=["1"], started_us_ago=[0], finished_us_ago=[0]
    )
    assert header(found)["settled"] == 0
    assert rows.job(job)["status"] == "running"


def test_one_id_in_both_the_settled_and_the_claimed_batch_is_settled(
    store: Connection, rows: Rows, child: Child
) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    found = settle_and_claim(store, child, lease=lease, claim=[job], ids=[job], results=["1"], started_us_ago=[0],
                             finished_us_ago=[0])  # fmt: skip
    assert claimed_ids(found) == set()
    assert rows.job(job)["status"] == "completed"


# claim_from_store


def claim_from_store(store: Connection, child: Child, **arguments: Any) -> list[Row]:
    chosen: dict[str, Any] = {"queue": "default", "priority": 4, "amount": 10, "claim_lease": ids.new_token()}
    return run(store, "claim_from_store", **{"most_bytes": MOST_BYTES, **chosen, **child._asdict(), **arguments})


@pytest.mark.parametrize("statement", [settle_and_claim, claim_from_store])
@pytest.mark.parametrize(("most_bytes", "with_payload"), [(3_000_000, 3), (1, 1), (100_000_000, 5)])
def test_payloads_beyond_the_bytes_of_a_batch_stay_where_they_are(
    store: Connection, rows: Rows, child: Child, statement: Any, most_bytes: int, with_payload: int
) -> None:
    """All are claimed; of those that come without a payload the child gives back at once."""
    jobs = rows.add(5, payload='{"type":"echo","x":"' + "x" * 1_000_000 + '"}')
    _, *found = (
        statement(store, child, claim=jobs, most_bytes=most_bytes)
        if statement is settle_and_claim
        else statement(store, child, most_bytes=most_bytes)
    )
    assert sorted(job_id for _, _, _, job_id, *_ in found) == sorted(jobs)
    assert [row[-1] is not None for row in found] == [True] * with_payload + [False] * (5 - with_payload)


def test_without_redis_fresh_and_due_jobs_are_claimed_and_others_are_not(
    store: Connection, rows: Rows, child: Child
) -> None:
    fresh = rows.add(2)
    due = rows.add(2, run_at="=clock_timestamp() - interval '1 s'")
    for unwanted in (
        {"run_at": "=clock_timestamp() + interval '1 h'"},
        {"expires_at": "=clock_timestamp()"},
        {"status": "completed"},
        {"priority": 5},
        {"queue": "other"},
    ):
        rows.one(**unwanted)
    token = ids.new_token()
    found = claim_from_store(store, child, claim_lease=token)
    assert claimed_ids(found) == {*fresh, *due}
    assert {(row["status"], row["attempts"], row["run_at"], row["lease"]) for row in rows.jobs([*fresh, *due])} == {
        ("running", 1, None, token)
    }
    slot = rows.slot(child)
    assert slot is not None
    assert set(slot["ids"].strip("{}").split(",")) == {*fresh, *due}


def test_without_redis_the_oldest_come_first(store: Connection, rows: Rows, child: Child) -> None:
    made = rows.add(5)
    assert claimed_ids(claim_from_store(store, child, amount=2)) == set(made[:2])


def test_without_redis_fresh_rows_are_claimed_from_the_places_own_mark_on(
    store: Connection, rows: Rows, child: Child
) -> None:
    below, above = rows.add(2)
    rows.sql("UPDATE walk SET seen = taskhub_id_floor(clock_timestamp() + interval '1 h')")
    assert claimed_ids(claim_from_store(store, child)) == set()
    rows.sql("INSERT INTO lagging VALUES ('default', 4, %s)", above)
    child = open_child(store)
    assert claimed_ids(claim_from_store(store, child)) == {above}
    assert rows.job(below)["status"] == "queued"


def test_without_redis_a_paused_queue_gives_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    rows.sql("UPDATE queues SET paused = true")
    found = claim_from_store(store, child)
    assert (header(found)["paused"], claimed_ids(found)) == (1, set())
    assert rows.job(job)["status"] == "queued"


def test_without_redis_a_closed_slot_claims_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    run(store, "close_slot", **child._asdict())
    found = claim_from_store(store, child)
    assert (header(found)["open"], claimed_ids(found)) == (0, set())
    assert rows.job(job)["status"] == "queued"


def test_without_redis_a_claim_of_another_lease_claims_nothing(store: Connection, rows: Rows, child: Child) -> None:
    claim(store, child, rows.add(1))
    job = rows.one()
    assert header(claim_from_store(store, child, lease=ids.new_token()))["open"] == 0
    assert rows.job(job)["status"] == "queued"


def test_without_redis_two_children_never_get_the_same_job(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    first, second = connect(), connect()
    made = rows.add(4)
    first.execute("BEGIN")
    mine = claimed_ids(claim_from_store(first, child, amount=2))
    theirs = claimed_ids(claim_from_store(second, open_child(second), amount=4))
    first.execute("COMMIT")
    assert (mine | theirs, mine & theirs) == (set(made), set())


# A claim against a rescuer


def test_closing_a_slot_waits_for_the_claim_in_flight_and_sees_it(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    claimer, rescuer = connect(), connect()
    job = rows.one()
    claimer.execute("BEGIN")
    claim(claimer, child, [job])
    closing = Background(run, rescuer, "close_slot", **child._asdict())
    closing.is_blocked_in(rows)
    claimer.execute("COMMIT")
    assert closing.result() == [("{" + job + "}",)]


def test_a_claim_that_waited_for_the_closing_of_its_slot_claims_nothing(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    claimer, rescuer = connect(), connect()
    job = rows.one()
    rescuer.execute("BEGIN")
    run(rescuer, "close_slot", **child._asdict())
    claiming = Background(settle_and_claim, claimer, child, claim=[job])
    claiming.is_blocked_in(rows)
    rescuer.execute("COMMIT")
    assert header(claiming.result())["open"] == 0
    assert rows.job(job)["status"] == "queued"


def test_of_two_claims_of_one_job_at_once_the_second_gets_nothing(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    first, second = connect(), connect()
    job = rows.one()
    first.execute("BEGIN")
    lease, _ = claim(first, child, [job])
    claiming = Background(settle_and_claim, second, open_child(connect()), claim=[job])
    claiming.is_blocked_in(rows)
    first.execute("COMMIT")
    assert claimed_ids(claiming.result()) == set()
    assert (rows.job(job)["lease"], rows.job(job)["attempts"]) == (lease, 1)
