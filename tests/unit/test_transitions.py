"""The table of legal changes of status."""

from __future__ import annotations

from itertools import product

import pytest

from taskhub.domain.job import STATUSES, TERMINAL, is_name
from taskhub.domain.transitions import TRANSITIONS, is_legal, is_terminal


def test_the_table_knows_only_statuses_of_the_contract() -> None:
    assert {status for pair in TRANSITIONS for status in pair if status} == set(STATUSES)


def test_a_job_begins_queued() -> None:
    assert [after for after in STATUSES if is_legal(None, after)] == ["queued"]


def test_only_a_replay_leaves_a_final_status() -> None:
    left = [(before, after) for before, after in product(TERMINAL, STATUSES) if is_legal(before, after)]
    assert left == [("failed", "queued")]
    assert TRANSITIONS["failed", "queued"] == "replay"


def test_only_a_running_job_can_complete() -> None:
    assert [before for before in (None, *STATUSES) if is_legal(before, "completed")] == ["running"]


def test_every_status_but_queued_and_running_is_final() -> None:
    assert [status for status in STATUSES if not is_terminal(status)] == ["queued", "running"]


@pytest.mark.parametrize("name", ["a", "0", "mail.send_v2-eu", "x" * 64])
def test_good_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a b", "a\n", "ä", "x" * 65, "a{b}", "a:b", "a/b"])
def test_names_that_could_leave_their_place_are_none(name: str) -> None:
    assert not is_name(name)
