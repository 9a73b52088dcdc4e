"""Migrations against a real PostgreSQL: applied once, in order, under a lock, never changed afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from taskhub.domain.errors import SchemaOutdatedError, StatementError
from taskhub.store import migrations
from taskhub.store.connection import Connection
from taskhub.store.migrations import Migration, MigrationError, available, migrate, require_current


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


def test_a_missing_installation_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(migrations, "__file__", str(tmp_path / "store" / "migrations.py"))
    with pytest.raises(MigrationError, match="reinstall"):
        available()
