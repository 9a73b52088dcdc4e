"""docs/api.md names every field, every call and every error code that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskhub.api.app import create_app
from taskhub.api.problems import STATUSES
from taskhub.api.refusals import _TOLD
from taskhub.domain import errors
from taskhub.domain.job_request import FIELDS
from taskhub.handlers import registry
from taskhub.settings.fields import Settings

_TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
_LATER = {"unauthorized", "forbidden", "not_failed", "not_finished"}  # codes of calls that are still to come
_INWARD = {
    "lease_lost",
    "transaction_state",
    "slot_closed",
    "keys_moved",
    "statement_refused",
    "handler",
    "migration",
}  # never reach HTTP


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_documented(field: str) -> None:
    assert f"| `{field}` |" in _TEXT


def test_every_code_is_documented_with_its_status() -> None:
    shown = {(code, STATUSES[code][0]) for code in set(STATUSES) - _LATER - {"schema_outdated"}}
    shown |= {("bad_request", status) for status, _ in _TOLD.values()}
    shown |= {("bad_request", 408)}  # api/connections.py: it did not come in time
    rows = [line.split("|") for line in _TEXT.splitlines() if re.match(r"\| \d{3}", line)]
    documented = {
        (code, int(status))
        for _, statuses, codes, *_ in rows
        for status in re.findall(r"\d{3}", statuses)
        for code in re.findall(r"`([a-z_]+)`", codes)
        if code in STATUSES
    }
    assert shown - documented == set()
    assert {code for code, _ in documented} == {code for code, _ in shown}
    assert {status for _, status in documented} == {status for _, status in shown}


def test_every_documented_code_is_one() -> None:
    rows = [line.split("|") for line in _TEXT.splitlines() if re.match(r"\| \d{3}", line)]
    named = {code for row in rows for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row[2])}
    assert named - set(STATUSES) == {"job_status"}  # a field beside one


def test_every_error_has_a_status_or_stays_inside() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.code for kind in kinds if hasattr(kind, "code")} - _INWARD <= set(STATUSES)


def test_every_call_is_documented() -> None:
    urls = {"TASKHUB_DATABASE_URL": "postgresql://x/y", "TASKHUB_REDIS_URL": "redis://x"}
    app = create_app(Settings.load(urls), registry.load([]))
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"`{method} {rule.rule.replace('<job_id>', '<id>')}`" in _TEXT
