"""A little of every fault, on real programs with shipped timers; `scripts/chaos` does the rest."""

from __future__ import annotations

import os

import pytest

from tests.harness.chaos.plan import SHORT, run_row

JOBS = 1_500


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_is_doubled_without_a_cause() -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    told: list[str] = []
    result = run_row(SHORT, JOBS, seed, lambda word, done, faults: told.append(f"{word}: {done} jobs, {faults} faults"))
    assert result.is_good, (seed, result, told[-1:])
    assert result.verdict.accepted == JOBS
