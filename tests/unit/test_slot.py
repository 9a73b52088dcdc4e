"""When the next child of a slot may be forked."""

from __future__ import annotations

import pytest

from supervisor.slot import Slot, boot_backoff_s

BASE_S, CAP_S = 0.5, 30.0


def die(slot: Slot, now_s: float, *, worked: bool = False, orderly: bool = False, lived_s: float = 0.01) -> float:
    """A child dies at `now_s`; returns for how long the slot waits."""
    slot.pid, slot.forked_at_s = 1, now_s - lived_s
    slot.died(worked, orderly, now_s, BASE_S, CAP_S)
    return slot.fork_at_s - now_s


def test_a_child_that_had_worked_or_left_in_order_is_followed_at_once() -> None:
    slot = Slot(0)
    assert [die(slot, 100, worked=True), die(slot, 101, orderly=True)] == [0, 0]
    assert slot.may_fork(101)
    assert not slot.is_in_backoff(101)


def test_deaths_before_the_first_task_wait_ever_longer_up_to_the_cap() -> None:
    slot = Slot(0)
    assert [die(slot, 100.0 + n) for n in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert slot.boot_deaths == 9
    assert slot.is_in_backoff(108 + 29.9)
    assert slot.may_fork(108 + 30)


@pytest.mark.parametrize("peace", [{"worked": True}, {"orderly": True}, {"lived_s": 31.0}])
def test_what_a_child_has_done_or_how_long_it_has_lived_ends_the_row(peace: dict[str, float]) -> None:
    slot = Slot(0)
    for n in range(4):
        die(slot, 100.0 + n)
    die(slot, 200, **peace)  # type: ignore[arg-type]
    assert slot.boot_deaths == (1 if "lived_s" in peace else 0)
    assert die(slot, 300) <= 1.0


def test_the_wait_never_overflows() -> None:
    assert boot_backoff_s(10_000, BASE_S, CAP_S) == CAP_S


def test_a_slot_with_a_child_is_not_forked() -> None:
    slot = Slot(0, pid=7)
    assert not slot.may_fork(1e9)
    assert not slot.is_in_backoff(0)
