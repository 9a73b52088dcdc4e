"""A child's side of the shared memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.shared import layout as m
from supervisor.shared.banks import Bank
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.layout import now_ns
from taskhub import ids

TASK, OTHER = b"t" * 16, b"o" * 16


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory.create(tmp_path, ids.new_token(), 8)


@pytest.fixture
def bank(memory: Memory) -> Bank:
    bank = memory.bank(2, 1)
    bank.begin(1)
    return bank


@pytest.fixture
def link(memory: Memory, bank: Bank) -> ChildLink:
    return ChildLink(memory, 2, 1)


def test_a_child_is_wanted_until_it_is_ordered_away_or_the_worker_drains_or_is_fenced(
    memory: Memory, bank: Bank, link: ChildLink
) -> None:
    assert link.is_wanted()
    for words, word, value in (
        (bank, m.B_DRAIN, 1),
        (memory.header, m.H_MODE, m.MODE_DRAIN),
        (memory.header, m.H_FENCED, 1),
    ):
        words[word] = value
        assert not link.is_wanted()
        words[word] = 0
    memory.header[m.H_MODE] = m.MODE_QUIET
    assert link.is_wanted()
    assert link.is_quiet()


def test_nothing_may_start_before_the_first_and_after_the_last_sign_of_validity(
    memory: Memory, link: ChildLink
) -> None:
    assert not link.may_start()
    memory.header[m.H_VALID_UNTIL] = now_ns() + 10**9
    assert link.may_start()
    memory.header[m.H_VALID_UNTIL] = now_ns() - 1
    assert not link.may_start()


def test_a_task_is_overdue_only_while_it_runs(bank: Bank, link: ChildLink) -> None:
    link.begin(TASK, 0.0)
    assert link.is_overdue()
    link.end()
    assert not link.is_overdue()
    link.begin(TASK, 60.0)
    assert not link.is_overdue()
    assert bank[m.B_TASKS_DONE] == 1


def test_a_cancellation_is_meant_for_one_task_alone(bank: Bank, link: ChildLink) -> None:
    bank.bytes[m.B_CANCEL * 8 : m.B_CANCEL * 8 + 16] = TASK
    assert not link.is_cancelled_now()
    link.begin(OTHER, 60)
    assert not link.is_cancelled_now()
    link.begin(TASK, 60)
    assert link.is_cancelled_now()
    link.end()
    assert not link.is_cancelled_now()


def test_the_journal_holds_what_was_noted_until_it_is_full(bank: Bank, link: ChildLink) -> None:
    assert link.note(b"first")
    assert link.note(b"x" * (m.JOURNAL_BYTES - 5))
    assert not link.note(b"y")
    assert bank.journal_bytes() == b"first" + b"x" * (m.JOURNAL_BYTES - 5)
    link.clear_notes()
    assert bank.journal_bytes() == b""
    assert link.note(b"again")
    assert bank.journal_bytes() == b"again"


def test_every_sign_of_life_sets_phase_and_tick(bank: Bank, link: ChildLink) -> None:
    signs = {
        link.idle: m.PHASE_IDLE,
        link.settling: m.PHASE_SETTLING,
        link.waiting: m.PHASE_WAITING,
        link.leaving: m.PHASE_LEAVING,
    }
    for sign, phase in signs.items():
        bank[m.B_TICK] = 0
        sign()
        assert bank[m.B_PHASE] == phase
        assert bank[m.B_TICK] > 0
