"""`job.transaction()` and `job.complete(cursor)` on a real session: every way to use them, and to lose them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import psycopg2
import pytest

from taskhub import failpoints, ids
from taskhub.domain.errors import LeaseLostError, TransactionLostError, TransactionStateError
from taskhub.domain.outcome import Committed, Completed, Failed, Fate, Outcome
from taskhub.services.execution.transaction import CompletingTransaction
from taskhub.store.connection import Connection
from taskhub.store.transaction import HandlerSession
from tests.harness.rows import Child, Rows, claim, open_child

FATE = Fate("exception", 1.0)


class Patient:
    """A job whose time is over when the test says so."""

    is_over = False

    def __init__(self) -> None:
        self._home = threading.get_ident()

    def are_here(self) -> bool:
        return threading.get_ident() == self._home

    def held_off(self) -> AbstractContextManager[None]:
        return nullcontext()

    def are_due(self) -> bool:
        return self.is_over

    def left_s(self) -> float:
        return 0.0 if self.is_over else 60.0


class Handling:
    """One child that handles jobs, each with a transaction of its own."""

    def __init__(self, url: str, store: Connection, rows: Rows) -> None:
        self.session, self.doubts, self.interrupts = HandlerSession(url), Connection(url), Patient()
        self._store, self._rows, self._lease = store, rows, None
        self._child: Child = open_child(store)

    def begin(self) -> tuple[str, CompletingTransaction]:
        job = self._rows.one()
        self._lease, _ = claim(self._store, self._child, [job], lease=self._lease)
        return job, CompletingTransaction(self.session, self.doubts, self.interrupts, job, self._lease)


@pytest.fixture
def handling(pg_url: str, store: Connection, rows: Rows) -> Iterator[Handling]:
    rows.sql("CREATE TABLE effects (n int PRIMARY KEY)")
    made = Handling(pg_url, store, rows)
    yield made
    made.session.close()
    made.doubts.close()


def returned(job: str) -> Outcome:
    return Completed.of(job, 7, 1.0, 2.0)


def effects(rows: Rows) -> list[int]:
    return [row["n"] for row in rows.sql("SELECT n FROM effects ORDER BY n")]


def test_the_job_is_completed_with_the_handlers_rows_and_a_second_use_is_told_so(
    handling: Handling, rows: Rows
) -> None:
    job, transaction = handling.begin()
    with transaction as cursor:
        cursor.execute("INSERT INTO effects VALUES (1)")
        with pytest.raises(TransactionStateError, match="open already"):
            transaction.__enter__()
    with pytest.raises(TransactionStateError, match="this job is already completed"):
        transaction.__enter__()
    assert (rows.job(job)["status"], effects(rows)) == ("completed", [1])
    assert transaction.conclude(returned(job), FATE) == Committed(job, 1.0, 2.0)


def test_a_commit_that_is_refused_is_the_drivers_error_and_the_block_may_be_entered_again(
    handling: Handling, rows: Rows
) -> None:
    rows.sql("CREATE TABLE lines (n int REFERENCES effects DEFERRABLE INITIALLY DEFERRED)")
    job, transaction = handling.begin()
    with pytest.raises(psycopg2.errors.ForeignKeyViolation), transaction as cursor:
        cursor.execute("INSERT INTO lines VALUES (1)")
    assert rows.job(job)["status"] == "running"
    assert transaction.conclude(returned(job), FATE) == returned(job)
    with transaction as cursor:
        cursor.execute("INSERT INTO effects VALUES (1); INSERT INTO lines VALUES (1)")
    assert (rows.job(job)["status"], effects(rows)) == ("completed", [1])


OURS = ("ValueError", "OSError", "MemoryError", "SystemExit")


@pytest.mark.parametrize("kind", OURS)
def test_whatever_fails_in_our_own_begin_is_waited_out(handling: Handling, rows: Rows, kind: str) -> None:
    for times in (1, 3):
        job, transaction = handling.begin()
        failpoints.arm(f"store.begin_for_handler=raise:{kind}*{times}")
        with transaction as cursor:
            cursor.execute("SELECT 1")
        assert rows.job(job)["status"] == "completed"
        assert transaction.conclude(returned(job), FATE) == Committed(job, 1.0, 2.0)


@pytest.mark.parametrize("kind", OURS)
def test_whatever_fails_in_our_own_completion_interrupts_the_job(handling: Handling, rows: Rows, kind: str) -> None:
    job, transaction = handling.begin()
    failpoints.arm(f"store.complete_in_transaction=raise:{kind}*1")
    with pytest.raises(TransactionLostError), transaction as cursor:
        cursor.execute("INSERT INTO effects VALUES (1)")
    assert (rows.job(job)["status"], effects(rows)) == ("running", [])
    assert transaction.conclude(returned(job), FATE) == returned(job), "nothing is in doubt"


@pytest.mark.parametrize("when", ["in a statement of the handler", "before the completion"])
def test_a_lost_connection_interrupts_the_job(handling: Handling, rows: Rows, when: str) -> None:
    job, transaction = handling.begin()

    def handler() -> None:
        with transaction as cursor:
            cursor.execute("INSERT INTO effects VALUES (1)")
            rows.sql("SELECT pg_terminate_backend(%s)", cursor.connection.get_backend_pid())
            if when.startswith("in a"):
                cursor.execute("SELECT 1")

    with pytest.raises(TransactionLostError):
        handler()
    assert (rows.job(job)["status"], effects(rows)) == ("running", [])
    assert transaction.conclude(returned(job), FATE) == returned(job), "nothing is in doubt"


def test_a_commit_in_doubt_that_happened_counts(
    handling: Handling, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, transaction = handling.begin()

    def commit() -> None:
        handling.session._raw.commit()
        raise TransactionLostError("the answer was lost", outcome_unknown=True)

    monkeypatch.setattr(handling.session, "commit", commit)
    with transaction as cursor:
        cursor.execute("INSERT INTO effects VALUES (1)")
    assert isinstance(transaction.conclude(returned(job), FATE), Committed)
    assert (rows.job(job)["status"], effects(rows)) == ("completed", [1])


def test_the_handler_says_how_its_transaction_is_isolated(handling: Handling) -> None:
    _, transaction = handling.begin()
    with transaction as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("serializable",)


def test_a_transaction_that_the_handler_makes_read_only_is_its_own_failure(handling: Handling) -> None:
    _, transaction = handling.begin()
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction), transaction as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")


def test_a_transaction_that_the_handler_leaves_open_is_rolled_back_and_fails_the_job(
    handling: Handling, rows: Rows
) -> None:
    job, transaction = handling.begin()
    transaction.__enter__().execute("INSERT INTO effects VALUES (1)")
    outcome = transaction.conclude(returned(job), FATE)
    assert isinstance(outcome, Failed)
    assert (outcome.type, effects(rows)) == ("TransactionLeftOpen", [])


def test_a_job_that_was_taken_over_is_refused(handling: Handling, rows: Rows) -> None:
    job, transaction = handling.begin()

    def handler() -> None:
        with transaction as cursor:
            cursor.execute("INSERT INTO effects VALUES (1)")
            rows.sql("UPDATE jobs SET lease = %s WHERE id = %s", ids.new_token(), job)

    with pytest.raises(LeaseLostError):
        handler()
    assert effects(rows) == []


def test_another_thread_may_not_use_it(handling: Handling) -> None:
    _, transaction = handling.begin()
    refused: list[bool] = []

    def use() -> None:
        with pytest.raises(TransactionStateError, match="thread"):
            transaction.__enter__()
        refused.append(True)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert refused


def test_no_transaction_begins_while_postgresql_is_away_and_that_is_not_the_handlers_fault(
    handling: Handling, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, transaction = handling.begin()
    handling.interrupts.is_over = True
    monkeypatch.setattr(handling.session, "_url", "postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(TransactionLostError, match="job's time"):
        transaction.__enter__()


@pytest.mark.parametrize("end", ["commit", "rollback", "nothing"])
def test_a_job_is_completed_in_the_handlers_own_transaction_or_not_at_all(
    handling: Handling, rows: Rows, pg_url: str, end: str
) -> None:
    job, transaction = handling.begin()
    own = psycopg2.connect(pg_url)
    with own.cursor() as cursor:
        cursor.execute("INSERT INTO effects VALUES (1)")
        transaction.complete(cursor)
    getattr(own, end, lambda: None)()
    outcome = transaction.conclude(returned(job), FATE)
    assert transaction.is_open == (end == "nothing")
    expected = {"commit": Committed, "rollback": Completed, "nothing": Failed}
    assert type(outcome) is expected[end]
    assert effects(rows) == ([1] if end == "commit" else [])
    own.close()


DIRT: dict[str, Callable[[psycopg2.extensions.cursor], object]] = {
    "a table that hides ours": lambda c: c.execute("CREATE TEMP TABLE jobs (id int)"),
    "another search path": lambda c: c.execute("CREATE SCHEMA o; CREATE TABLE o.jobs (id int); SET search_path TO o"),
    "a role": lambda c: c.execute("SET ROLE pg_monitor; RESET ROLE; SET ROLE taskhub_dirt"),
    "a lock": lambda c: c.execute("SELECT pg_advisory_lock(42)"),
    "a cursor that holds": lambda c: c.execute("DECLARE held CURSOR WITH HOLD FOR SELECT 1"),
    "a typecaster": lambda c: psycopg2.extensions.register_type(psycopg2.extensions.UNICODEARRAY, c.connection),
    "an encoding": lambda c: c.connection.set_client_encoding("LATIN1"),
    "a commit of its own": lambda c: c.connection.commit(),
}


@pytest.mark.parametrize("dirt", DIRT)
def test_whatever_a_job_does_to_its_session_it_is_completed_and_the_next_meets_nothing_of_it(
    handling: Handling, rows: Rows, dirt: str
) -> None:
    rows.sql("DO $$ BEGIN CREATE ROLE taskhub_dirt; EXCEPTION WHEN duplicate_object THEN END $$")
    rows.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO taskhub_dirt")
    seen = []
    for step in (lambda c: None, DIRT[dirt], lambda c: None):
        job, transaction = handling.begin()
        with transaction as cursor:
            cursor.execute(
                "SELECT to_regclass('jobs')::oid::regclass::text, current_user, current_setting('client_encoding'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
                " (SELECT count(*) FROM pg_cursors WHERE is_holdable), current_setting('search_path')"
            )
            seen.append((*cursor.fetchone(), dict(cursor.connection.string_types)))
            step(cursor)
        del cursor
        handling.session.clean()
        assert rows.job(job)["status"] == "completed"
    assert seen[2] == seen[0]
    rows.sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM taskhub_dirt; DROP ROLE taskhub_dirt")


@pytest.mark.parametrize(
    "defaults",
    [["statement_timeout = '1ms'"], ["work_mem = '64kB'", "temp_file_limit = 0", "client_min_messages = debug5"]],
)
def test_what_the_database_says_for_handlers_does_not_stop_our_own_statements(
    handling: Handling, rows: Rows, defaults: list[str]
) -> None:
    for default in defaults:
        rows.sql(f'ALTER DATABASE "{rows.value("SELECT current_database()")}" SET {default}')
    name, _, value = defaults[0].partition(" = ")
    for _ in range(5):
        job, transaction = handling.begin()
        with transaction as cursor:
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (value.strip("'"),), "the handler's own statements keep it"
        del cursor
        handling.session.close()  # the next sets up another
        assert rows.job(job)["status"] == "completed"
