"""Hypothesis over what handlers return and raise: PostgreSQL stores each outcome as the gate has made it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from taskhub import clock
from taskhub.domain.outcome import Completed, Failed, Fate, Outcome
from taskhub.services.execution.settle import settle
from taskhub.store.connection import Connection
from tests.harness import odd_values
from tests.harness.rows import Rows, claim, open_child
from tests.sweep import drawing

MEMBERS = [f"{kind} {number}" for kind in ("returned", "raised") for number in range(10)]
EACH = 100


@pytest.mark.parametrize("member", drawing.drawn("values", MEMBERS, 2))
def test_any_outcome_is_stored_as_it_is(store: Connection, rows: Rows, member: str) -> None:
    outcomes: list[Outcome] = []
    jobs = rows.add(EACH * 4)  # more than hypothesis may try
    kind = member.split()[0]

    @seed(drawing.rng(member).randrange(1 << 30))
    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(odd_values.values if kind == "returned" else odd_values.exceptions)
    def collect(value: Any) -> None:
        job, now = jobs[len(outcomes)], clock.boottime_s()
        made = Failed.of(job, value, Fate("exception", None), now, now) if kind == "raised" else None
        outcomes.append(made or Completed.of(job, value, now, now))

    collect()
    child = open_child(store)
    lease, _ = claim(store, child, [outcome.id for outcome in outcomes])
    settled = settle(store, lease, outcomes)
    assert settled.stale == []
    for outcome, row in zip(outcomes, rows.jobs([outcome.id for outcome in outcomes]), strict=True):
        if isinstance(outcome, Completed):
            kept = rows.value("SELECT result::text FROM jobs WHERE id = %s", outcome.id)
            assert (row["status"], kept) == ("completed", outcome.result)
        elif isinstance(outcome, Failed):
            assert row["error"] == {"type": outcome.type, "message": outcome.message, "cause": "exception"}
