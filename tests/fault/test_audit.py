"""The judge itself: each kind of fault, made by hand, is seen; and a clean run is clean."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskhub import ids
from taskhub.store.connection import Connection
from tests.harness.audit import Verdict, audit
from tests.harness.ledger import Ledger
from tests.harness.rows import Rows, open_child


class Books:
    """A database and a ledger to write what one likes into."""

    def __init__(self, rows: Rows, ledger: Ledger) -> None:
        self.rows = rows
        self._ledger = ledger
        self.accepted: list[str] = []

    def job(self, *words: str, **columns: object) -> str:
        """An accepted job with this row and these words in the ledger."""
        job = self.rows.one(**columns)
        self.accepted.append(job)
        self.write(job, *words)
        return job

    def write(self, job: str, *words: str) -> None:
        with self._ledger.path.open("a") as file:
            file.writelines(f"{word} {job} 1 1 1\n" for word in words)

    def faults(self) -> dict[str, list[str]]:
        return self.verdict().faults

    def verdict(self) -> Verdict:
        return audit(self.rows, self._ledger, self.accepted)


@pytest.fixture
def books(recorded_rows: Rows, tmp_path: Path) -> Books:
    return Books(recorded_rows, Ledger(tmp_path / "ledger"))


def charge(rows: Rows, job: str) -> None:
    rows.sql(
        "INSERT INTO job_errors (job_id, failed_at, attempt, type, message, cause) "
        " VALUES (%s, now(), 1, 'a', 'b', 'c')",
        job,
    )


def test_a_clean_run_is_clean(books: Books) -> None:
    books.job("start", "end", status="completed")
    charge(books.rows, books.job("start", "start", "end", status="completed"))
    books.job("start", "start", "end", status="completed", interruptions=1)
    books.job(status="cancelled")
    verdict = books.verdict()
    assert (verdict.faults, verdict.accepted, verdict.extra) == ({}, 4, 2)


def test_lost_is_what_was_accepted_and_is_not_there_or_not_finished_or_never_ran(books: Books) -> None:
    missing = ids.new_ids(1)[0]
    books.accepted.append(missing)
    waiting = books.job(status="queued")
    unexecuted = books.job(status="completed")
    assert books.faults() == {"lost": sorted([missing, waiting, unexecuted])}


def test_an_execution_without_a_recorded_cause_is_seen(books: Books) -> None:
    job = books.job("start", "end", "start", "end", status="completed")
    assert books.faults() == {"unexplained": [job]}


def test_more_executions_than_allowed_are_seen(books: Books) -> None:
    job = books.job("start", "start", "end", status="completed", max_attempts=1)
    charge(books.rows, job)
    assert books.faults() == {"over_limit": [job]}


def test_a_finished_job_that_was_touched_is_seen(books: Books) -> None:
    job = books.job("start", "end", status="completed")
    books.rows.set(job, result="1")
    assert books.faults() == {"regressed": [job]}


def test_a_finished_job_that_was_deleted_is_seen(books: Books) -> None:
    job = books.job("start", "end", status="completed")
    books.rows.sql("DELETE FROM jobs WHERE id = %s", job)
    assert set(books.faults()) == {"lost", "regressed", "unknown"}


def test_a_running_row_without_a_living_owner_is_seen(books: Books, store: Connection) -> None:
    lease = ids.new_token()
    job = books.job("start", "end", status="running", lease=lease)
    child = open_child(store)
    assert books.faults() == {"lost": [job], "ownerless": [job]}
    books.rows.sql("UPDATE slots SET lease = %s, ids = ARRAY[%s]::uuid[]", lease, job)
    assert books.faults() == {"lost": [job]}
    books.rows.sql("UPDATE workers SET expired = true WHERE id = %s", child.worker)
    assert books.faults() == {"lost": [job], "ownerless": [job]}


def test_an_execution_of_what_nobody_submitted_is_seen(books: Books) -> None:
    stranger = ids.new_ids(1)[0]
    books.write(stranger, "start", "end")
    assert books.faults() == {"unknown": [stranger]}
