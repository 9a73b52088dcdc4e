"""docs/configuration.md and the code name the same settings, with the same words."""

from __future__ import annotations

import re
from pathlib import Path

from taskhub.settings.declaring import Described
from taskhub.settings.fields import table

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `(TASKHUB_\w+)` \| `(.*?)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_every_setting_is_documented_as_the_code_defines_it() -> None:
    documented = [Described(*(cell.replace("\\|", "|") for cell in row)) for row in ROW.findall(PAGE.read_text())]

    assert documented == table()


def test_the_page_names_no_setting_that_is_not_one() -> None:
    known = {described.name for described in table()} | {"TASKHUB_DATABASE_URL_FILE", "TASKHUB_REDIS_URL_FILE"}

    named = set(re.findall(r"TASKHUB_[A-Z][A-Z_]*[A-Z]", PAGE.read_text()))

    assert named <= known
