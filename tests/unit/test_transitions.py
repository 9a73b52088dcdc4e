"""The table of legal changes of status, and the statements that make them."""

from __future__ import annotations

import re

import pytest

from taskhub.domain.job import (
    ATTEMPTS_EXHAUSTED,
    CRASH_LIMIT,
    EXPIRED,
    FREE_INTERRUPTIONS,
    MAX_CRASHES,
    NAME,
    STATUSES,
    TERMINAL,
    UNKNOWN_TYPE,
)
from taskhub.domain.transitions import TRANSITIONS
from taskhub.store.statements import files

TEXTS = {name: file.read_text() for name, file in files().items()}
WRITES = re.compile(r"UPDATE jobs\b[^;]*?\bSET status\b|INSERT INTO jobs\b", re.S)
HEADER = re.compile(r"^-- transition: (.*)$", re.M)
Change = tuple[str | None, str]


def named(text: str) -> set[Change]:
    """The changes that a statement's header names."""
    pairs = [change.split(" -> ") for line in HEADER.findall(text) for change in line.split(", ")]
    return {(None if before == "new" else before, after) for before, after in pairs}


def test_the_table_knows_only_statuses_of_the_contract() -> None:
    assert {status for pair in TRANSITIONS for status in pair if status} == set(STATUSES)


def test_a_job_begins_queued() -> None:
    assert [after for before, after in TRANSITIONS if before is None] == ["queued"]


def test_only_a_replay_leaves_a_final_status() -> None:
    left = {pair: name for pair, name in TRANSITIONS.items() if pair[0] in TERMINAL}
    assert left == {("failed", "queued"): "replay"}


def test_the_statements_make_the_changes_of_the_table_and_no_other() -> None:
    made = set[Change]().union(*map(named, TEXTS.values()))
    assert made == set(TRANSITIONS) - {("failed", "queued")}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_statement_that_writes_a_status_names_its_changes(name: str) -> None:
    text = TEXTS[name]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    assert bool(HEADER.search(text)) == bool(WRITES.search(body))
    for before, after in named(text):
        assert before is None or f"'{before}'" in body, "it is made from this status alone"
        assert before is None or f"'{after}'" in body


def test_the_numbers_and_reasons_of_the_rules_are_those_of_the_statements() -> None:
    failures, rescue = TEXTS["settle_failures"], TEXTS["rescue_jobs"]
    free = re.findall(r"least\([^,]*interruptions[^,]*, (\d+)\)", failures + rescue)
    assert set(map(int, free)) == {FREE_INTERRUPTIONS}
    assert len(free) == 4
    assert set(map(int, re.findall(r"crashes \+ 1 >= (\d+)", rescue))) == {MAX_CRASHES}
    reasons = {
        ATTEMPTS_EXHAUSTED: failures + rescue,
        CRASH_LIMIT: rescue,
        EXPIRED: failures,
        UNKNOWN_TYPE: TEXTS["defer_unknown"],
    }
    assert [reason for reason, text in reasons.items() if f"'{reason}'" not in text] == []


@pytest.mark.parametrize("name", ["a", "0", "mail.send_v2-eu", "x" * 64])
def test_good_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a b", "a\n", "ä", "x" * 65, "a{b}", "a:b", "a/b"])
def test_names_that_could_leave_their_place_are_none(name: str) -> None:
    assert NAME.fullmatch(name) is None
