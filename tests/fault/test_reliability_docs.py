"""docs/reliability.md names only what there is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.chaos.plan import ROWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_is_there() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 30
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_every_file_that_it_names_is_there() -> None:
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", PAGE)) - files == set()


def test_every_row_of_the_chaos_table_is_explained() -> None:
    assert [row.name for row in ROWS if f"| {row.name}" not in PAGE] == []


def test_every_row_that_it_names_is_there() -> None:
    named = {
        name for names in re.findall(r"rows? ((?:\"[^\"]+\",? ?)+)", PAGE) for name in re.findall(r'"([^"]+)"', names)
    }
    assert named - {row.name for row in ROWS} == set()
