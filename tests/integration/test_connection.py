"""The connection: a deadline on everything, and every failure told as what it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskhub import ids
from taskhub.domain.errors import BlockedError, SchemaOutdatedError, StatementError, StoreUnavailableError
from taskhub.store.connection import Connection
from taskhub.store.statements import text_array
from tests.harness.background import Background
from tests.harness.rows import Rows, claim, open_child, run
from tests.harness.servers import Postgres
from tests.waiting import stretched, wait_until

TEXTS = [
    None,
    "",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{}",
    "a,b",
    " spaced ",
    "line\nbreak",
    "tab\t",
    "'",
    "ü€😀",
    "%s",
    "$1",
]


@pytest.fixture
def quick(pg_url: str) -> Iterator[Connection]:
    """A connection that gives up soon."""
    made = Connection(pg_url, statement_s=0.5, lock_s=0.2, connect_s=2)
    yield made
    made.close()


def test_any_text_survives_an_array_literal(store: Connection) -> None:
    assert store.execute("SELECT %s::text[]", text_array(TEXTS)) == [(TEXTS,)]


def test_a_statement_is_prepared_once_and_runs_again_and_again(store: Connection, rows: Rows) -> None:
    for _ in range(3):
        assert store.run("queue_names") == []
    assert store.execute("SELECT name FROM pg_prepared_statements") == [("queue_names",)]


def test_sessions_commit_safely_and_keep_time_limits(quick: Connection) -> None:
    names = ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert [quick.execute(f"SHOW {name}")[0][0] for name in names] == ["on", "500ms", "200ms", "10s"]


def test_a_lost_session_is_told_and_replaced(store: Connection, rows: Rows) -> None:
    store.run("queue_names")
    [(pid,)] = store.execute("SELECT pg_backend_pid()")
    rows.sql("SELECT pg_terminate_backend(%s)", pid)
    with pytest.raises(StoreUnavailableError) as loss:
        store.run("queue_names")
    assert loss.value.outcome_unknown
    assert not store.is_open
    assert store.run("queue_names") == []


def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as loss:
        Connection(f"postgresql://nobody@/none?host={tmp_path}").run("queue_names")
    assert not loss.value.outcome_unknown
    assert time.monotonic() - began < stretched(2)


def test_a_frozen_session_costs_no_more_than_its_deadline(quick: Connection, rows: Rows) -> None:
    [(pid,)] = quick.execute("SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError) as loss:
            quick.execute("SELECT 1", timeout_s=0.5)
        assert time.monotonic() - began < stretched(1.5)
        assert loss.value.outcome_unknown
    finally:
        os.kill(pid, signal.SIGCONT)
    assert quick.execute("SELECT 1") == [(1,)]


def test_a_slow_statement_is_ended_by_the_server_and_had_no_effect(quick: Connection) -> None:
    with pytest.raises(StoreUnavailableError) as loss:
        quick.execute("SELECT pg_sleep(10)")
    assert not loss.value.outcome_unknown
    assert quick.execute("SELECT 1") == [(1,)]


def test_a_lock_that_does_not_come_is_an_absence_that_did_nothing(
    quick: Connection, connect: Callable[[], Connection], rows: Rows
) -> None:
    holder = connect()
    child = open_child(holder)
    holder.execute("BEGIN")
    run(holder, "close_slot", **child._asdict())
    with pytest.raises(StoreUnavailableError) as absence:
        claim(quick, child, [ids.new_ids(1)[0]])
    assert not absence.value.outcome_unknown
    holder.execute("ROLLBACK")
    claim(quick, child, [ids.new_ids(1)[0]])


def test_a_refused_statement_leaves_the_session_as_it_was(store: Connection) -> None:
    [(before,)] = store.execute("SELECT pg_backend_pid()")
    with pytest.raises(StatementError) as refusal:
        store.execute("SELECT 1 / 0")
    assert refusal.value.sqlstate == "22012"
    assert "\n" not in str(refusal.value)
    assert store.execute("SELECT pg_backend_pid()") == [(before,)]


def test_a_missing_table_means_migrate(empty_pg_url: str) -> None:
    connection = Connection(empty_pg_url)
    with pytest.raises(SchemaOutdatedError, match="taskhub migrate"):
        connection.run("queue_names")
    connection.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("REVOKE SELECT ON queues FROM lodger", "grant this role its rights"),
        ("REVOKE USAGE ON SCHEMA public FROM lodger, PUBLIC", "taskhub migrate"),
        ("ALTER TABLE queues RENAME COLUMN name TO title", "taskhub migrate"),
        ("ALTER TABLE queues ALTER name TYPE varchar(99)", "cached plan"),
    ],
)
def test_whatever_is_done_to_the_tables_is_waited_for(pg_url: str, rows: Rows, change: str, told: str) -> None:
    """It is no fault of whatever job a statement is about."""
    rows.sql("DROP ROLE IF EXISTS lodger")
    rows.sql("CREATE ROLE lodger LOGIN")
    rows.sql("GRANT SELECT ON queues TO lodger")
    connection = Connection(pg_url.replace("postgres@", "lodger@"))
    try:
        connection.run("queue_names")
        rows.sql(change)
        with pytest.raises(StoreUnavailableError, match=told) as loss:
            connection.run("queue_names")
        assert not loss.value.outcome_unknown
    finally:
        connection.close()
        rows.sql("DROP OWNED BY lodger")
        rows.sql("DROP ROLE lodger")


def test_a_read_only_server_is_left(store: Connection, rows: Rows) -> None:
    store.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailableError) as loss:
        run(store, "ensure_queue", queue="default", priority=4)
    assert not loss.value.outcome_unknown
    run(store, "ensure_queue", queue="default", priority=4)


def test_an_interrupted_statement_leaves_no_answer_behind(pg_url: str) -> None:
    """A signal handler that raises in mid-wait, as a soft time-out does, must not shift answers by one."""
    connection = Connection(pg_url)

    def interrupt(*_: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError):
            connection.execute("SELECT 'late', pg_sleep(0.5)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert connection.execute("SELECT 'own'") == [("own",)]
    connection.close()


def test_a_forked_process_that_abandons_a_connection_leaves_the_parents_session_alone(store: Connection) -> None:
    [(before,)] = store.execute("SELECT pg_backend_pid()")
    child = os.fork()
    if child == 0:
        store.abandon()
        code = 0 if store.execute("SELECT pg_backend_pid()") != [(before,)] else 1
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.execute("SELECT pg_backend_pid()") == [(before,)]


def test_a_restarted_server_is_found_again() -> None:
    server = Postgres()
    server.start()
    try:
        connection = Connection(server.url("postgres"))
        assert connection.execute("SELECT 1") == [(1,)]
        server.kill()
        with pytest.raises(StoreUnavailableError):
            connection.execute("SELECT 1")
        with pytest.raises(StoreUnavailableError) as loss:
            connection.execute("SELECT 1")
        assert not loss.value.outcome_unknown
        server.start()
        assert connection.execute("SELECT 1") == [(1,)]
        connection.close()
    finally:
        server.remove()


def test_a_statement_cut_off_by_a_lost_server_has_an_unknown_outcome(store: Connection, rows: Rows) -> None:
    [(pid,)] = store.execute("SELECT pg_backend_pid()")
    sleeping = Background(store.execute, "SELECT pg_sleep(5)")
    wait = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    wait_until(lambda: rows.value(wait, pid), 5, "the statement runs")
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(StoreUnavailableError) as loss:
        sleeping.result()
    assert loss.value.outcome_unknown


def test_a_statement_that_waits_for_somebodys_row_says_for_which(quick: Connection, rows: Rows) -> None:
    rows.sql("CREATE TABLE held AS SELECT 1 AS n")
    rows.sql("BEGIN")
    rows.sql("SELECT * FROM held FOR UPDATE")
    with pytest.raises(BlockedError, match=r'while updating tuple \(0,1\) in relation "held"'):
        quick.execute("UPDATE held SET n = 2")
    rows.sql("ROLLBACK")
