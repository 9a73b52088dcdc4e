"""When a worker may declare others dead: after faultless contact with one and the same start of PostgreSQL."""

from __future__ import annotations

import pytest

from taskhub.maintenance.observer import StoreContact


def after(*passes: tuple[float, float, float]) -> float:
    """The health after passes at these times: own clock, server's clock, server's start."""
    health = StoreContact()
    return [health.observe(*observed) for observed in passes][-1]


def test_health_is_the_time_of_faultless_passes() -> None:
    assert after(*[(now, now + 1000, 7) for now in range(100, 116)]) == 15


@pytest.mark.parametrize(
    "fault",
    [
        (110.0, 1110.0, 7.0),  # this process stood still
        (104.0, 1120.0, 7.0),  # the server stood still, or its clock was set forward
        (104.0, 1090.0, 7.0),  # its clock was set back
        (104.0, 1104.0, 8.0),  # it was restarted
        (99.0, 1104.0, 7.0),  # this host's own clock went back
    ],
)
def test_any_gap_or_another_start_starts_it_again(fault: tuple[float, float, float]) -> None:
    healthy = [(float(now), now + 1000.0, 7.0) for now in range(100, 104)]
    assert after(*healthy, fault) == 0


def test_a_failed_pass_starts_it_again() -> None:
    health = StoreContact()
    for now in range(100, 110):
        health.observe(now, now + 1000, 7)
    health.doubt()
    assert health.observe(110, 1110, 7) == 0
    assert health.observe(114, 1114, 7) == 4
