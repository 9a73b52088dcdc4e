"""Migrations against a real PostgreSQL: applied once, in order, under a lock, never changed afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskhub import clock
from taskhub.domain.errors import SchemaOutdatedError, StatementError, StoreUnavailableError
from taskhub.store import migrations
from taskhub.store.connection import Connection, Row
from taskhub.store.migrations import Migration, MigrationError, available, migrate, require_current
from tests.architecture.test_schema import SNAPSHOT, dumped
from tests.harness.background import Background
from tests.harness.rows import Rows, claim, open_child

END_IT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'taskhub migrate'"


def test_files_are_numbered_from_one_without_gaps() -> None:
    assert [step.version for step in available()] == list(range(1, len(available()) + 1))


def test_an_empty_database_gets_every_migration_and_a_second_run_changes_nothing(empty_pg_url: str) -> None:
    assert migrate(empty_pg_url) == [step.name for step in available()]
    assert migrate(empty_pg_url) == []


def test_an_unmigrated_database_is_reported_as_outdated(empty_pg_url: str) -> None:
    connection = Connection(empty_pg_url)
    with pytest.raises(SchemaOutdatedError, match="taskhub migrate"):
        require_current(connection)
    with pytest.raises(SchemaOutdatedError, match="taskhub migrate"):
        connection.run("queue_names")
    connection.close()


def test_a_migrated_database_is_current(store: Connection) -> None:
    require_current(store)
    assert store.execute("SELECT count(*) FROM schema_migrations") == [(len(available()),)]


def test_a_schema_older_than_this_version_is_outdated(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [*available(), Migration(len(available()) + 1, "9999_from_tomorrow", "SELECT 1")]
    monkeypatch.setattr(migrations, "available", lambda: newer)
    with pytest.raises(SchemaOutdatedError, match="needs"):
        require_current(store)


@pytest.fixture
def newer(store: Connection) -> Callable[[int], None]:
    """Records a migration that this version does not know, and the oldest code that it allows."""

    def record(allows: int) -> None:
        version = available()[-1].version + 1
        store.execute("INSERT INTO schema_migrations VALUES (%s, 'later', 'c', now(), %s)", version, allows)

    return record


def test_a_newer_schema_is_served_by_the_code_that_it_allows(
    store: Connection, newer: Callable[[int], None], pg_url: str
) -> None:
    newer(available()[-1].version)
    require_current(store)
    assert migrate(pg_url) == []


def test_sessions_of_this_code_go_on_over_a_later_migration_that_allows_it(
    store: Connection, rows: Rows, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, before, after = open_child(store), rows.one(), rows.one()
    lease, _ = claim(store, child, [before])
    newest = available()[-1].version
    added = (f"ALTER TABLE {table} ADD later integer NOT NULL DEFAULT 0;" for table in ("jobs", "slots", "queues"))
    later = Migration(newest + 1, "9999_add_later", "\n".join([f"-- allows: {newest}", *added]))
    with monkeypatch.context() as patched:
        shipped = [*available(), later]
        patched.setattr(migrations, "available", lambda: shipped)
        assert migrate(pg_url) == [later.name]
    require_current(store)
    _, [claimed] = claim(store, child, [after], lease=lease)
    assert claimed[0] == after
    assert rows.statuses([before, after]) == ["running", "running"]


def test_a_newer_schema_that_does_not_allow_this_code_is_told_in_one_line(
    store: Connection, newer: Callable[[int], None], pg_url: str
) -> None:
    newer(available()[-1].version + 1)
    for call in (lambda: require_current(store), lambda: migrate(pg_url)):
        with pytest.raises(SchemaOutdatedError, match="run a newer one") as told:
            call()
        assert "\n" not in str(told.value)


def test_a_history_that_the_first_version_wrote_is_gone_on_with(store: Connection, pg_url: str) -> None:
    store.execute("ALTER TABLE schema_migrations DROP COLUMN allows")
    require_current(store)
    assert migrate(pg_url) == []
    assert store.execute("SELECT version FROM schema_migrations WHERE allows IS NOT NULL") == []


def test_each_migration_says_what_code_it_allows() -> None:
    assert [(step.version, step.allows) for step in available()] == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_a_table_that_somebody_holds_is_waited_for(
    pg_url: str, connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Migration(len(available()) + 1, "9999_later", "ALTER TABLE queues ADD COLUMN later integer")
    shipped = [*available(), later]
    monkeypatch.setattr(migrations, "available", lambda: shipped)
    holder = connect()
    holder.execute("BEGIN")
    holder.execute("SELECT count(*) FROM queues")
    with pytest.raises(StoreUnavailableError, match="pg_locks"):
        migrate(pg_url, patience_s=0.5)
    migrating = Background(migrate, pg_url)
    migrating.is_blocked_in(Rows(pg_url))
    holder.execute("COMMIT")
    assert migrating.result() == ["9999_later"]


def test_two_runners_at_once_apply_each_migration_once(empty_pg_url: str) -> None:
    applied: list[list[str]] = []
    runners = [threading.Thread(target=lambda: applied.append(migrate(empty_pg_url))) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert sorted(map(len, applied)) == [0, 0, len(available())]


def test_a_file_changed_after_it_was_applied_is_refused(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [Migration(step.version, step.name, step.sql + "\n-- afterthought") for step in available()]
    monkeypatch.setattr(migrations, "available", lambda: changed)
    with pytest.raises(MigrationError, match="was changed"):
        migrate(pg_url)


def test_a_failing_migration_leaves_nothing_behind(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = available()
    version = len(shipped) + 1
    broken = Migration(version, "9999_break_things", "CREATE TABLE half_done (); SELECT 1 / 0")
    monkeypatch.setattr(migrations, "available", lambda: [*shipped, broken])
    with pytest.raises(StatementError):
        migrate(pg_url)
    connection = Connection(pg_url)
    [(left,)] = connection.execute("SELECT to_regclass('half_done') IS NOT NULL")
    [(newest,)] = connection.execute("SELECT max(version) FROM schema_migrations")
    connection.close()
    assert (left, newest) == (False, version - 1)


def after_each_statement(step: Migration) -> Iterator[str]:
    """Its text, cut short after each of its statements by the end of the session."""
    lines = step.sql.splitlines(keepends=True)
    for count, line in enumerate(lines, 1):
        text = "".join(lines[:count])
        if line.rstrip().endswith(";") and text.count("$$") % 2 == 0:
            yield f"{text}\nSELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10);"


def test_a_migration_that_is_killed_at_any_of_its_statements_leaves_nothing_and_can_be_run_again(
    empty_pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, kills = available(), 0
    for at, step in enumerate(shipped):
        for text in after_each_statement(step):
            with monkeypatch.context() as patched:
                patched.setattr(migrations, "available", lambda at=at, text=text: [
                    *shipped[:at], Migration(shipped[at].version, shipped[at].name, text)
                ])  # fmt: skip
                with pytest.raises(StoreUnavailableError):
                    migrate(empty_pg_url, patience_s=0)
            kills += 1
    assert kills > 30
    assert migrate(empty_pg_url) == [shipped[-1].name]
    assert dumped(empty_pg_url) == SNAPSHOT.read_text()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_runner_whose_session_ends_at_any_of_its_own_statements_goes_on_by_itself(
    empty_pg_url: str, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    """Once at each: the next try gets further, up to a COMMIT whose answer is lost."""
    rows, execute, ended = Rows(empty_pg_url), Connection.execute, set[str]()

    def interrupted(self: Connection, sql: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        is_due = self.is_open and sql not in ended
        ended.add(sql)
        for moment in (False, True):
            if is_due and moment == is_done:
                rows.sql(END_IT)
            if moment is False:
                found = execute(self, sql, *arguments, timeout_s=timeout_s)
        return found

    monkeypatch.setattr(Connection, "execute", interrupted)
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    migrate(empty_pg_url)
    assert len(ended) > 7 + len(available())
    assert migrate(empty_pg_url) == []
    assert dumped(empty_pg_url) == SNAPSHOT.read_text()
    rows.close()


def test_a_missing_installation_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(migrations, "__file__", str(tmp_path / "store" / "migrations.py"))
    with pytest.raises(MigrationError, match="reinstall"):
        available.__wrapped__()
