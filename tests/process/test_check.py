"""`taskhub check`: each thing in one line that says what to do, and an exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from taskhub.store.migrations import migrate
from tests.harness.fixtures import MakeApi
from tests.harness.programs import free_port
from tests.harness.rows import Rows
from tests.harness.servers import Postgres

PORTS = {"TASKHUB_HTTP_PORT": str(free_port()), "TASKHUB_METRICS_PORT": "0"}


def check(command: str = "check", **environ: str) -> tuple[int, list[str]]:
    """The exit code and the lines of `taskhub check`."""
    ran = subprocess.run(
        [sys.executable, "-m", "taskhub.cli.main", command],
        env={"PATH": os.environ["PATH"], **PORTS, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, (ran.stdout + ran.stderr).splitlines()


def test_servers_that_are_away_are_told_with_the_settings_to_look_at() -> None:
    code, lines = check(
        TASKHUB_DATABASE_URL="postgresql://u:sec%23ret@127.0.0.1:1/db",
        TASKHUB_REDIS_URL="redis://:sec%23ret@127.0.0.1:1/0",
    )

    assert code == 3
    assert [line.split(":")[0] for line in lines] == [
        "settings",
        "handlers",
        "PostgreSQL at postgresql",
        "Redis at redis",
        "ports",
        "next",
    ]
    assert "is TASKHUB_DATABASE_URL right?" in lines[2]
    assert "is TASKHUB_REDIS_URL right?" in lines[3]
    assert "ret" not in "".join(lines)


def test_a_database_that_cannot_hold_every_text_is_told(postgres: Postgres, redis_url: str) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    migrate(postgres.url("latin"))

    code, lines = check(TASKHUB_DATABASE_URL=postgres.url("latin"), TASKHUB_REDIS_URL=redis_url)

    assert code == 1
    assert any("its encoding is LATIN1" in line for line in lines)
    postgres.run("DROP DATABASE latin WITH (FORCE)")


def test_when_all_is_well_types_and_queues_are_listed_and_the_next_command_is_named(
    pg_url: str, redis_url: str
) -> None:
    code, lines = check(TASKHUB_DATABASE_URL=pg_url, TASKHUB_REDIS_URL=redis_url)
    assert code == 0
    assert "handlers: queue default: demo, echo, fail, sleep" in lines
    assert lines[-1] == "next: taskhub api, and taskhub worker"


def test_what_api_and_worker_could_not_do_is_told_before_they_start(
    empty_pg_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("import no_such_library\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        servers = {"TASKHUB_DATABASE_URL": empty_pg_url, "TASKHUB_REDIS_URL": redis_url, "TASKHUB_HTTP_PORT": port}
        code, lines = check(**servers, TASKHUB_HANDLERS="shop", PYTHONPATH=str(tmp_path))
    told = "\n".join(lines)
    assert code == 1
    assert "handlers: cannot import handler module 'shop'" in told
    assert "No module named 'no_such_library'" in told
    assert f"port {port} on 127.0.0.1 is in use by process {os.getpid()}" in told
    assert "schema is at 0, this version needs" in told
    assert lines[-1] == "next: taskhub migrate"


def test_beside_a_taskhub_that_runs_its_port_is_no_trouble(api: MakeApi, pg_url: str, redis_url: str) -> None:
    with api() as running:
        port = str(running.port)
        code, lines = check(TASKHUB_DATABASE_URL=pg_url, TASKHUB_REDIS_URL=redis_url, TASKHUB_HTTP_PORT=port)
    assert code == 0
    assert f"ports: a taskhub that runs here answers on {port} (TASKHUB_HTTP_PORT); another needs another" in lines


def test_a_syntax_error_is_told_once_with_its_caret_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def broken(:\n    pass\n")
    nowhere = {"TASKHUB_DATABASE_URL": "postgresql://127.0.0.1:1/db", "TASKHUB_REDIS_URL": "redis://127.0.0.1:1"}
    for program in ("api", "worker"):
        code, lines = check(program, **nowhere, TASKHUB_HANDLERS="shop", PYTHONPATH=str(tmp_path))
        assert code == 1
        assert lines[0] == "taskhub: handler module 'shop' (TASKHUB_HANDLERS) is not Python:"
        assert [line.strip() for line in lines[2:4]] == ["def broken(:", "^"]
        assert len(lines) == 5


def test_a_newer_schema_and_a_changed_migration_are_told(pg_url: str, redis_url: str, rows: Rows) -> None:
    servers = {"TASKHUB_DATABASE_URL": pg_url, "TASKHUB_REDIS_URL": redis_url}
    rows.sql("INSERT INTO schema_migrations VALUES (9998, 'later', 'c', now(), 1)")
    code, lines = check(**servers)
    assert (code, any("schema is at 9998, newer than this version's" in line for line in lines)) == (0, True)
    assert any("schema is at 9998, newer" in line for line in check("migrate", **servers)[1])
    rows.sql("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1")
    code, lines = check(**servers)
    assert (code, any("0001_create_jobs was changed after" in line for line in lines)) == (1, True)


def test_what_is_misspelt_is_told_first_with_what_was_meant() -> None:
    code, lines = check(TASKHUB_DATABSE_URL="postgresql://127.0.0.1:1/db", TASKHUB_REDIS_URL="redis://127.0.0.1:1")
    assert code == 2
    assert lines[0] == "taskhub: TASKHUB_DATABSE_URL is not a setting; did you mean TASKHUB_DATABASE_URL?"
    assert "did you mean worker?" in "".join(check("wroker")[1])
