"""What every session has, whatever the environment, the URL, a role or a database wants; what it keeps of theirs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskhub.domain.errors import StatementError
from taskhub.domain.job import WorkerSlot
from taskhub.services.recovery.rescue import Death, Held, rescue
from taskhub.store import session
from taskhub.store.connection import Connection
from taskhub.store.migrations import migrate
from taskhub.store.transaction import HandlerSession
from tests.harness.forks import end, fork
from tests.harness.programs import free_port
from tests.harness.rows import Rows, claim, open_child
from tests.harness.servers import Postgres, started
from tests.waiting import wait_until

TEXT = "grün, 日本, 🙂"
SHOW = "SELECT current_setting(%s)"


@pytest.fixture(scope="module")
def network() -> Iterator[Postgres]:
    """A PostgreSQL that is reached over TCP."""
    with started(Postgres(free_port())) as server:
        migrate(server.url("postgres"))
        yield server


@pytest.fixture
def shows(request: pytest.FixtureRequest) -> Callable[[str, str], list[str]]:
    """What a setting is in a session of ours and in one of `job.transaction()`."""

    def show(url: str, name: str) -> list[str]:
        ours, theirs = Connection(url), HandlerSession(url)
        request.addfinalizer(ours.close)
        request.addfinalizer(theirs.close)
        cursor = theirs.begin(600)
        cursor.execute(SHOW, (name,))
        return [ours.execute(SHOW, name)[0][0], cursor.fetchone()[0]]

    return show


Shows = Callable[[str, str], list[str]]


def with_options(url: str, options: str) -> str:
    return f"{url}&options={options.replace(' ', '%20').replace('=', '%3D')}"


def latin_environment(monkeypatch: pytest.MonkeyPatch, rows: Rows, url: str, folder: Path) -> str:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    return url


def latin_service_file(monkeypatch: pytest.MonkeyPatch, rows: Rows, url: str, folder: Path) -> str:
    (folder / "services").write_text("[old]\nclient_encoding=LATIN1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))
    return f"{url}&service=old"


def latin_database(monkeypatch: pytest.MonkeyPatch, rows: Rows, url: str, folder: Path) -> str:
    rows.sql(f"ALTER DATABASE {rows.value('SELECT current_database()')} SET client_encoding = 'LATIN1'")
    return url


def latin_url(monkeypatch: pytest.MonkeyPatch, rows: Rows, url: str, folder: Path) -> str:
    return with_options(f"{url}&client_encoding=LATIN1", "-c client_encoding=LATIN1")


@pytest.mark.parametrize("said", [latin_environment, latin_service_file, latin_database, latin_url])
def test_text_is_utf8_whoever_says_otherwise(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch, rows: Rows, pg_url: str, tmp_path: Path, shows: Shows
) -> None:
    url = said(monkeypatch, rows, pg_url, tmp_path)
    assert shows(url, "client_encoding") == ["UTF8", "UTF8"]
    connection = Connection(url)
    assert connection.execute("SELECT %s, octet_length(%s)", TEXT, TEXT) == [(TEXT, len(TEXT.encode()))]
    connection.close()


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "a \0 in it"])
def test_text_that_cannot_be_stored_is_refused_and_leaves_the_session(text: str, store: Connection) -> None:
    [(before,)] = store.execute("SELECT pg_backend_pid()")
    with pytest.raises(StatementError):
        store.execute("SELECT %s", text)
    assert store.execute("SELECT pg_backend_pid()") == [(before,)]


@pytest.mark.parametrize("by", ["URL", "PGOPTIONS", "database"])
def test_what_the_user_sets_holds_in_every_session(
    by: str, monkeypatch: pytest.MonkeyPatch, rows: Rows, pg_url: str, shows: Shows
) -> None:
    url, options = pg_url, "-c work_mem=7777kB -c search_path=own,public"
    if by == "URL":
        url = with_options(pg_url, options)
    elif by == "PGOPTIONS":
        monkeypatch.setenv("PGOPTIONS", options)
    else:
        database = rows.value("SELECT current_database()")
        rows.sql(f"ALTER DATABASE {database} SET work_mem = '7777kB'")
        rows.sql(f"ALTER DATABASE {database} SET search_path = own, public")
    assert shows(url, "work_mem") == ["7777kB", "7777kB"]
    assert {path.replace(" ", "") for path in shows(url, "search_path")} == {"own,public"}


def test_the_schema_is_made_where_the_search_path_says(empty_pg_url: str) -> None:
    rows = Rows(empty_pg_url)
    rows.sql("CREATE SCHEMA own")
    migrate(with_options(empty_pg_url, "-c search_path=own"))
    assert rows.value("SELECT schemaname FROM pg_tables WHERE tablename = 'jobs'") == "own"
    rows.close()


@pytest.mark.parametrize(
    ("name", "given", "held"),
    [
        ("synchronous_commit", "off", ["on", "on"]),
        ("synchronous_commit", "local", ["on", "on"]),
        ("synchronous_commit", "remote_apply", ["remote_apply", "remote_apply"]),
        ("statement_timeout", "900", ["5s", "900ms"]),
        ("lock_timeout", "1", ["4s", "1ms"]),
        ("idle_in_transaction_session_timeout", "1", ["10s", "10min"]),
        ("array_nulls", "off", ["on", "on"]),
        ("default_transaction_isolation", "serializable", ["read committed", "serializable"]),
        ("timezone", "Asia/Tokyo", ["UTC", "Asia/Tokyo"]),
        ("enable_nestloop", "off", ["off", "off"]),
    ],
)
def test_what_safety_needs_wins_over_the_user(
    name: str, given: str, held: list[str], rows: Rows, pg_url: str, shows: Shows
) -> None:
    assert shows(with_options(pg_url, f"-c {name}={given}"), name) == held
    rows.sql(f"ALTER DATABASE {rows.value('SELECT current_database()')} SET {name} = '{given}'")
    assert shows(pg_url, name) == held


def test_handlers_see_times_in_utc_unless_somebody_chose(pg_url: str, shows: Shows) -> None:
    assert shows(pg_url, "timezone") == ["UTC", "UTC"]


def test_the_server_gives_up_on_clients_over_a_network_only(network: Postgres, pg_url: str, shows: Shows) -> None:
    assert shows(network.network_url("postgres"), "tcp_user_timeout") == ["10000", "10000"]
    assert shows(network.network_url("postgres", "[::1]"), "tcp_user_timeout") == ["10000", "10000"]
    assert shows(pg_url, "tcp_user_timeout") == ["0", "0"]


def test_a_child_frozen_while_it_receives_a_large_claim_loses_its_slot(
    network: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the server waits in its write to it, with the slot's row locked, for ever."""
    monkeypatch.setattr(session, "UNREAD_MS", 2000)
    url, rows = network.network_url("postgres"), Rows(network.url("postgres"))
    setting_up = Connection(url)
    child = open_child(setting_up)
    payload = '{"type":"echo","x":"' + "x" * 2**24 + '"}'  # more than the buffers of both sides take in
    jobs = rows.add(2, payload=payload)

    def freeze(raw: Any, deadline: float) -> bool:
        os.kill(os.getpid(), signal.SIGSTOP)
        return False

    def receive() -> None:
        receiving = Connection(url, application="frozen")
        lease, _ = claim(receiving, child, [])  # so that it is prepared
        session.wait = freeze
        claim(receiving, child, jobs, lease=lease)

    pid = fork(receive)
    try:
        in_write = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'frozen' AND wait_event = 'ClientWrite'"
        )
        wait_until(lambda: rows.value(in_write), 10, "the server waits in its write to the frozen child")
        rescuer = Connection(url, statement_s=10, lock_s=9)
        held = Held(WorkerSlot(*child), record_is_lost=True)
        rescued = rescue(rescuer, held, Death("worker_lost", "the worker was lost"))
        assert [row["status"] for row in rows.jobs(jobs)] == ["queued"] * 2
        assert rescued == []  # the claim was undone with its session
        rescuer.close()
    finally:
        end(pid)
        setting_up.close()
        rows.close()


def test_a_cleaned_session_is_as_it_was_opened(pg_url: str, rows: Rows) -> None:
    rows.sql("DROP ROLE IF EXISTS application")
    rows.sql("CREATE ROLE application")
    limits = {"idle_in_transaction_session_timeout": "600000"}
    url = with_options(pg_url, "-c role=application -c work_mem=7777kB -c statement_timeout=33000")
    raw = session.open_ordinary(url, application="test", connect_s=5, settings=limits)

    def settings() -> list[tuple[str, str]]:
        with raw.cursor() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings UNION SELECT 'role', current_role ORDER BY name")
            found: list[tuple[str, str]] = cursor.fetchall()
            return found

    before = settings()
    assert (dict(before)["statement_timeout"], dict(before)["role"]) == ("33000", "application")
    with raw.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1); LISTEN leftovers")
        for changed in ("work_mem = '1MB'", "role = none", "synchronous_commit = off", "statement_timeout = 1000"):
            cursor.execute(f"SET {changed}")
    raw.commit()
    session.clean_ordinary(raw, within_s=5, settings=limits)
    assert settings() == before
    assert rows.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    raw.close()
