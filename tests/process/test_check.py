"""`taskhub check`: each thing in one line that says what to do, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys

from taskhub.store.migrations import migrate
from tests.harness.servers import Postgres


def check(**environ: str) -> tuple[int, list[str]]:
    """The exit code and the lines of `taskhub check`."""
    ran = subprocess.run(
        [sys.executable, "-m", "taskhub.cli.main", "check"],
        env={"PATH": os.environ["PATH"], **environ},
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
    assert [line.split(":")[0] for line in lines] == ["settings", "PostgreSQL at postgresql", "Redis at redis"]
    assert "is TASKHUB_DATABASE_URL right?" in lines[1]
    assert "is TASKHUB_REDIS_URL right?" in lines[2]
    assert "ret" not in "".join(lines)


def test_a_database_that_cannot_hold_every_text_is_told(postgres: Postgres, redis_url: str) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    migrate(postgres.url("latin"))

    code, lines = check(TASKHUB_DATABASE_URL=postgres.url("latin"), TASKHUB_REDIS_URL=redis_url)

    assert code == 1
    assert any("its encoding is LATIN1" in line for line in lines)
    postgres.run("DROP DATABASE latin WITH (FORCE)")
