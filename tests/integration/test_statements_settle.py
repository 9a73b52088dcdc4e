"""The settling statements: completing, failing, giving back; each fenced by its lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskhub import ids
from taskhub.store.connection import Connection, Row
from tests.harness.background import Background
from tests.harness.rows import DUE, Child, Rows, claim, open_child, run


@pytest.fixture
def child(store: Connection) -> Child:
    return open_child(store)


def fail(store: Connection, lease: str, job_ids: list[str], **columns: Any) -> list[Row]:
    """Settle failures that are all alike; `retry_in` 60 s unless given."""
    told = {
        "started_us_ago": 1_000_000,
        "types": "ValueError",
        "messages": "no",
        "causes": "exception",
        "retry_in": 60.0,
    }
    arrays = {name: [value] * len(job_ids) for name, value in {**told, "reasons": None, **columns}.items()}
    return run(store, "settle_failures", ids=job_ids, lease=lease, **arrays)


def seconds_until(rows: Rows, column: str, job: str) -> float:
    return float(rows.value(f"SELECT extract(epoch FROM {column} - clock_timestamp()) FROM jobs WHERE id = %s", job))


# settle_completed


def test_completing_writes_result_and_times(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    done: dict[str, Any] = {
        "ids": [job],
        "results": ['{"a":"\\"x\\\\y"}'],
        "started_us_ago": [3_000_000],
        "finished_us_ago": [1_000_000],
    }
    assert run(store, "settle_completed", lease=lease, **done) == [(1,)]
    row = rows.job(job)
    assert (row["status"], row["result"]) == ("completed", {"a": '"x\\y'})
    assert (row["finished_at"] - row["started_at"]).total_seconds() == pytest.approx(2, abs=0.001)
    assert run(store, "settle_completed", lease=lease, **done) == [(0,)]


def test_completing_under_a_lost_lease_changes_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    before = rows.job(job)
    done: dict[str, Any] = {"ids": [job], "results": ["1"], "started_us_ago": [0], "finished_us_ago": [0]}
    assert run(store, "settle_completed", lease=ids.new_token(), **done) == [(0,)]
    assert rows.job(job) == before


# settle_failures


@pytest.mark.parametrize(
    ("before", "status"),
    [({"attempts": 4}, "queued"), ({"max_attempts": 1}, "failed"), ({"attempts": 14, "interruptions": 10}, "failed")],
    ids=["free", "may run once only", "after ten of them"],
)
def test_an_interruption_is_no_attempt(
    store: Connection, rows: Rows, child: Child, before: dict[str, int], status: str
) -> None:
    job = rows.one(**before)
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job], causes="interrupted", types="TransactionLostError") == [(job, status)]
    row = rows.job(job)
    assert row["interruptions"] == before.get("interruptions", 0) + 1
    assert (row["error"]["cause"], rows.errors(job)[0]["cause"]) == ("interrupted", "interrupted")
    assert row["failure_reason"] == ("attempts_exhausted" if status == "failed" else None)


def test_a_failure_with_attempts_left_waits_for_its_retry(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, "queued")]
    row = rows.job(job)
    assert (row["status"], row["attempts"], row["failed_at"], row["finished_at"]) == ("queued", 1, None, None)
    assert row["error"] == {"type": "ValueError", "message": "no", "cause": "exception"}
    assert seconds_until(rows, "run_at", job) == pytest.approx(60, abs=2)


def test_every_failure_leaves_a_row_of_history(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease: str | None = None
    for attempt in (1, 2):
        lease, _ = claim(store, child, [job], lease=lease)
        fail(store, lease, [job], messages=f"try {attempt}", retry_in=0.0)
    first, second = rows.errors(job)
    assert [first["attempt"], second["attempt"]] == [1, 2]
    assert (second["message"], second["type"], second["cause"]) == ("try 2", "ValueError", "exception")
    assert (second["worker"], second["slot"]) == (child.worker, child.slot)
    assert (second["failed_at"] - second["started_at"]).total_seconds() == pytest.approx(1, abs=0.01)


def test_the_last_attempt_fails_for_good(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=2, attempts=1)
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, "failed")]
    row = rows.job(job)
    assert (row["failure_reason"], row["attempts"], row["run_at"]) == ("attempts_exhausted", 2, None)
    assert row["failed_at"] == row["finished_at"] is not None


def test_a_failure_without_retry_fails_for_its_reason(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job], retry_in=None, reasons="non_retryable") == [(job, "failed")]
    assert rows.job(job)["failure_reason"] == "non_retryable"


@pytest.mark.parametrize(("interruptions", "status"), [(1, "queued"), (10, "queued"), (0, "failed")])
def test_interruptions_do_not_count_against_the_attempts(
    store: Connection, rows: Rows, child: Child, interruptions: int, status: str
) -> None:
    job = rows.one(max_attempts=2, attempts=1 + interruptions - (interruptions > 0), interruptions=interruptions)
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, status)]


def test_only_the_first_ten_interruptions_are_free(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=2, attempts=11, interruptions=11)
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, "failed")]


def test_a_failed_job_that_was_to_be_cancelled_is_cancelled(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    rows.set(job, cancel_requested_at="=clock_timestamp()")
    assert fail(store, lease, [job]) == [(job, "cancelled")]
    row = rows.job(job)
    assert (row["run_at"], row["failure_reason"]) == (None, None)
    assert row["finished_at"] == row["failed_at"] is not None


def test_failing_under_a_lost_lease_changes_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    before = rows.job(job)
    assert fail(store, ids.new_token(), [job]) == []
    assert (rows.job(job), rows.errors(job)) == (before, [])


def test_a_failure_sent_twice_is_written_once(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, "queued")]
    assert fail(store, lease, [job]) == []
    assert len(rows.errors(job)) == 1


def test_a_failure_that_meets_a_rescue_of_its_job_changes_nothing(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    child_connection, rescuer = connect(), connect()
    job = rows.one()
    lease, _ = claim(child_connection, child, [job])
    run(rescuer, "close_slot", **child._asdict())
    rescuer.execute("BEGIN")
    rescue(rescuer, child, started=[job])
    failing = Background(fail, child_connection, lease, [job])
    failing.is_blocked_in(rows)
    rescuer.execute("COMMIT")
    assert failing.result() == []
    assert [error["cause"] for error in rows.errors(job)] == ["signal:SIGKILL"]


# release_jobs and defer_unknown


def test_a_released_job_is_uncharged_and_due(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(attempts=1)
    lease, _ = claim(store, child, [job])
    assert run(store, "release_jobs", ids=[job], lease=lease) == [(job, "queued")]
    row = rows.job(job)
    assert (row["status"], row["attempts"], row["started_at"]) == ("queued", 1, None)
    assert seconds_until(rows, "run_at", job) <= 0


def test_releasing_under_a_lost_lease_changes_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    assert run(store, "release_jobs", ids=[job], lease=ids.new_token()) == []
    assert rows.job(job)["status"] == "running"


def test_a_released_job_that_was_to_be_cancelled_is_cancelled(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    rows.set(job, cancel_requested_at="=clock_timestamp()")
    run(store, "release_jobs", ids=[job], lease=lease)
    row = rows.job(job)
    assert (row["status"], row["run_at"], row["attempts"]) == ("cancelled", None, 0)
    assert None not in (row["failed_at"], row["finished_at"])


@pytest.mark.parametrize(
    ("unknown_since", "status", "reason"),
    [(None, "queued", None), ("59 m", "queued", None), ("61 m", "failed", "unknown_type")],
)
def test_a_job_of_an_unknown_type_waits_for_another_worker_for_an_hour(
    store: Connection, rows: Rows, child: Child, unknown_since: str | None, status: str, reason: str | None
) -> None:
    ago = f"=clock_timestamp() - interval '{unknown_since}'" if unknown_since else None
    job = rows.one(created_at="=clock_timestamp() - interval '2 days'", unknown_since=ago)
    lease, _ = claim(store, child, [job])
    assert run(store, "defer_unknown", ids=[job], lease=lease, delay_s=5) == [(job, status)]
    row = rows.job(job)
    assert (row["failure_reason"], row["attempts"]) == (reason, 0)
    assert (row["run_at"] is not None, row["failed_at"] is not None) == (status == "queued", status == "failed")
    assert row["unknown_since"] is not None


def test_the_hour_of_an_unknown_type_starts_again_once_a_worker_has_run_the_job(
    store: Connection, rows: Rows, child: Child
) -> None:
    job = rows.one(unknown_since="=clock_timestamp() - interval '59 m'")
    lease, _ = claim(store, child, [job])
    assert fail(store, lease, [job]) == [(job, "queued")]
    assert rows.job(job)["unknown_since"] is None


# close_slot, then rescue_jobs


def rescue(store: Connection, child: Child, **arguments: Any) -> list[Row]:
    told: dict[str, Any] = {
        "error_type": "WorkerLost", "message": "killed", "cause": "signal:SIGKILL", "peak_rss_mb": 12.5,
        "all_started": False, "interrupted": False,
    }  # fmt: skip
    return run(store, "rescue_jobs", **{**told, **child._asdict(), **arguments})


def rescued(store: Connection, child: Child, job: str, **arguments: Any) -> Row:
    """Close the slot and rescue its one, started job."""
    run(store, "close_slot", **child._asdict())
    [row] = rescue(store, child, **{"started": [job], **arguments})
    return row


def test_a_rescue_charges_the_started_job_and_frees_the_others(store: Connection, rows: Rows, child: Child) -> None:
    made = rows.add(3)
    started, waiting, done = made
    lease, _ = claim(store, child, made)
    rows.set(done, status="completed")
    run(store, "close_slot", **child._asdict())
    found = {row[0]: row[1:] for row in rescue(store, child, started=[started])}
    assert found == {
        started: ("queued", "default", "echo", 4, True),
        waiting: ("queued", "default", "echo", 4, False),
    }
    crashed, freed = rows.jobs([started, waiting])
    assert (crashed["attempts"], crashed["crashes"], crashed["error"]["cause"]) == (1, 1, "signal:SIGKILL")
    assert (freed["attempts"], freed["crashes"], freed["error"]) == (0, 0, None)
    assert crashed["run_at"] is not None
    assert freed["run_at"] is not None
    assert rows.errors(waiting) == []
    [error] = rows.errors(started)
    assert (error["attempt"], error["worker"], error["slot"]) == (1, child.worker, child.slot)
    assert (error["cause"], error["peak_rss_mb"]) == ("signal:SIGKILL", 12.5)
    assert fail(store, lease, [started]) == []
    assert rows.job(done)["status"] == "completed"


def test_an_open_slot_is_not_rescued(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    assert rescue(store, child, started=[job]) == []
    assert rows.job(job)["status"] == "running"


def test_a_second_rescue_finds_nothing(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    rescued(store, child, job)
    assert rescue(store, child, started=[job]) == []
    assert rows.job(job)["crashes"] == 1


def test_a_job_that_runs_again_elsewhere_is_not_rescued_from_its_old_slot(
    store: Connection, rows: Rows, child: Child
) -> None:
    job = rows.one()
    lease, _ = claim(store, child, [job])
    run(store, "release_jobs", ids=[job], lease=lease)
    again, _ = claim(store, open_child(store), [job])
    run(store, "close_slot", **child._asdict())
    assert rescue(store, child, started=[job]) == []
    assert rows.job(job)["lease"] == again


def test_without_a_record_every_held_job_counts_as_started(store: Connection, rows: Rows, child: Child) -> None:
    made = rows.add(2)
    claim(store, child, made)
    run(store, "close_slot", **child._asdict())
    assert {row[5] for row in rescue(store, child, all_started=True)} == {True}
    assert [row["crashes"] for row in rows.jobs(made)] == [1, 1]


@pytest.mark.parametrize(("crashes", "status", "reason"), [(1, "queued", None), (2, "failed", "crash_limit")])
def test_the_third_crash_is_the_last(
    store: Connection, rows: Rows, child: Child, crashes: int, status: str, reason: str | None
) -> None:
    job = rows.one(crashes=crashes, attempts=crashes, max_attempts=10)
    claim(store, child, [job])
    assert rescued(store, child, job)[1] == status
    row = rows.job(job)
    assert (row["crashes"], row["failure_reason"]) == (crashes + 1, reason)
    assert (row["failed_at"] is not None, row["run_at"] is not None) == (status == "failed", status == "queued")


def test_a_job_with_one_attempt_never_runs_twice(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=1)
    claim(store, child, [job])
    assert rescued(store, child, job)[1] == "failed"
    row = rows.job(job)
    assert (row["failure_reason"], row["error"]["cause"]) == ("attempts_exhausted", "signal:SIGKILL")


def test_an_unstarted_job_with_one_attempt_keeps_it(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=1)
    claim(store, child, [job])
    assert rescued(store, child, job, started=[])[1] == "queued"
    assert rows.job(job)["attempts"] == 0


@pytest.mark.parametrize("started", [True, False])
def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(
    store: Connection, rows: Rows, child: Child, started: bool
) -> None:
    job = rows.one()
    claim(store, child, [job])
    rows.set(job, cancel_requested_at="=clock_timestamp()")
    assert rescued(store, child, job, started=[job] if started else [])[1] == "cancelled"
    row = rows.job(job)
    assert (row["run_at"], row["failure_reason"]) == (None, None)
    assert row["finished_at"] is not None


def test_an_interrupted_job_runs_again_uncharged(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=2, attempts=1)
    claim(store, child, [job])
    assert rescued(store, child, job, interrupted=True)[1] == "queued"
    row = rows.job(job)
    assert (row["attempts"], row["interruptions"], row["crashes"], row["error"]) == (2, 1, 0, None)
    assert rows.errors(job) == []


def test_a_job_of_one_attempt_never_starts_twice(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=1)
    claim(store, child, [job])
    assert rescued(store, child, job, interrupted=True)[1] == "failed"
    row = rows.job(job)
    assert (row["failure_reason"], row["error"]["cause"]) == ("attempts_exhausted", "interrupted")
    assert (row["attempts"], row["interruptions"], row["run_at"]) == (1, 1, None)
    assert [error["cause"] for error in rows.errors(job)] == ["interrupted"]


def test_a_job_of_one_attempt_that_never_started_is_given_back(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=1)
    claim(store, child, [job])
    run(store, "close_slot", **child._asdict())
    found = run(store, "rescue_jobs", **child._asdict(), interrupted=True, all_started=False)
    assert [row[1] for row in found] == ["queued"]
    assert rows.job(job)["attempts"] == 0


def test_the_eleventh_interruption_spends_an_attempt(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one(max_attempts=2, attempts=11, interruptions=10)
    claim(store, child, [job])
    assert rescued(store, child, job, interrupted=True)[1] == "failed"
    assert rows.job(job)["failure_reason"] == "attempts_exhausted"


def test_a_job_settled_while_the_rescue_waited_for_it_stays_settled(
    connect: Callable[[], Connection], rows: Rows, child: Child
) -> None:
    settler, rescuer = connect(), connect()
    job = rows.one()
    lease, _ = claim(settler, child, [job])
    run(rescuer, "close_slot", **child._asdict())
    settler.execute("BEGIN")
    done: dict[str, Any] = {"ids": [job], "results": ["1"], "started_us_ago": [0], "finished_us_ago": [0]}
    run(settler, "settle_completed", lease=lease, **done)
    rescuing = Background(rescue, rescuer, child, started=[job])
    rescuing.is_blocked_in(rows)
    settler.execute("COMMIT")
    assert rescuing.result() == []
    assert rows.job(job)["status"] == "completed"


def test_what_a_rescue_wrote_is_found_again_as_due(store: Connection, rows: Rows, child: Child) -> None:
    job = rows.one()
    claim(store, child, [job])
    rescued(store, child, job)
    assert [row[2] for row in run(store, "due_jobs", **DUE)] == [job]


def test_a_retry_that_would_come_after_the_expiry_fails_at_once(store: Connection, rows: Rows, child: Child) -> None:
    late, soon = rows.add(2, expires_at="=clock_timestamp() + interval '1 min'")
    lease, _ = claim(store, child, [late, soon])
    told = {"types": ["E"] * 2, "messages": ["m"] * 2, "causes": ["exception"] * 2, "reasons": [None] * 2}
    times = {"started_us_ago": [0] * 2, "retry_in": [90.0, 1.0], "peaks": [None] * 2}
    settled = dict(run(store, "settle_failures", ids=[late, soon], lease=lease, **told, **times))
    assert settled == {late: "failed", soon: "queued"}
    row = rows.job(late)
    assert (row["failure_reason"], row["error"]["type"], len(rows.errors(late))) == ("expired", "E", 1)


def test_no_execution_started_in_the_future(store: Connection, rows: Rows, child: Child) -> None:
    """Times of a clock that began again, as a host's after a reboot."""
    done, failed = rows.add(2)
    lease, _ = claim(store, child, [done, failed])
    times: dict[str, Any] = {"started_us_ago": [-9_000_000_000]}
    run(store, "settle_completed", ids=[done], results=["1"], finished_us_ago=[-9_000_000_000], lease=lease, **times)
    told = {"types": ["E"], "messages": ["m"], "causes": ["exception"], "reasons": [None], "retry_in": [None]}
    run(store, "settle_failures", ids=[failed], peaks=[None], lease=lease, **told, **times)
    for row in rows.jobs([done, failed]):
        assert row["started_at"] <= row["finished_at"] <= rows.now()
