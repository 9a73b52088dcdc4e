"""db/schema.sql is what all migrations together make: a page to read, and a check that they still make it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from taskhub.embedded import server_binaries
from tests.architecture.sources import ROOT

SNAPSHOT = ROOT / "db" / "schema.sql"
HEADER = """-- The schema that all migrations together make. Generated, never edited: tests/architecture/test_schema.py
-- says so when it is out of date, and how to make it again.
"""


def dumped(database_url: str) -> str:
    """The schema as pg_dump tells it, less what differs between servers and runs."""
    tool = server_binaries.postgres_folder() / "pg_dump"
    options = ["--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces"]
    told = subprocess.run([tool, *options, database_url], check=True, capture_output=True, text=True).stdout
    noise = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)$", re.M)
    return HEADER + "\n" + re.sub(r"\n{3,}", "\n\n", noise.sub("", told)).strip() + "\n"


def test_the_snapshot_equals_the_sum_of_the_migrations(pg_url: str, tmp_path: Path) -> None:
    now = dumped(pg_url)
    fresh = tmp_path / "schema.sql"
    fresh.write_text(now)
    known = SNAPSHOT.read_text() if SNAPSHOT.exists() else ""
    assert known == now, f"the schema has changed: cp {fresh} {SNAPSHOT}"
