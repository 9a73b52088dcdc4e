"""The second wall behind the gate: an outcome that PostgreSQL refuses all the same fails alone."""

from __future__ import annotations

from taskhub import clock
from taskhub.domain.job import RESULT_UNSTORABLE
from taskhub.domain.outcome import ERROR_UNSTORABLE, Committed, Completed, Failed, Outcome
from taskhub.services.execution.settle import settle
from taskhub.store.connection import Connection
from tests.harness.rows import Rows, claim, open_child

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE check_violation USING MESSAGE = 'never'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status <> 'running' AND NEW.tags = '{refused}')
EXECUTE FUNCTION refuse()
"""


def failure(job: str, message: str) -> Failed:
    now = clock.boottime_s()
    return Failed(job, "ValueError", message, "exception", 60.0, None, now, now)


def completion(job: str, result: str) -> Completed:
    now = clock.boottime_s()
    return Completed(job, result, now, now)


def test_what_the_gate_let_through_by_mistake_fails_alone(store: Connection, rows: Rows) -> None:
    jobs = rows.add(7)
    lease, _ = claim(store, open_child(store), jobs)
    outcomes: list[Outcome] = [failure(job, "well") for job in jobs[:3]]
    outcomes += [failure(jobs[3], "half \ud800"), completion(jobs[4], "{}"), completion(jobs[5], "no json")]
    outcomes += [Committed(jobs[6], 1.0, 2.0)]
    settled = settle(store, lease, outcomes)
    assert settled.stale == []
    assert rows.statuses(jobs) == ["queued"] * 4 + ["completed", "failed", "running"]
    assert settled.statuses[jobs[6]] == "completed"  # by its own transaction, of which nothing was to be written
    wordless = rows.job(jobs[3])
    assert (wordless["error"]["type"], wordless["error"]["cause"]) == (ERROR_UNSTORABLE, "exception")
    assert "cannot be stored" in wordless["error"]["message"]
    assert rows.job(jobs[5])["failure_reason"] == RESULT_UNSTORABLE


def test_a_row_that_refuses_everything_does_not_keep_its_neighbours(store: Connection, rows: Rows) -> None:
    rows.sql(REFUSE)
    good, bad = rows.add(4), rows.add(2, tags=["refused"])
    lease, _ = claim(store, open_child(store), good + bad)
    outcomes = [failure(bad[0], "a"), failure(good[0], "b"), failure(good[1], "c")]
    others = [completion(bad[1], "1"), completion(good[2], "2"), completion(good[3], "3")]
    for _ in range(2):  # and it may be sent again
        settled = settle(store, lease, [*outcomes, *others])
        assert [outcome.id for outcome in settled.refused] == bad
        assert rows.statuses(good) == ["queued"] * 2 + ["completed"] * 2
        assert rows.statuses(bad) == ["running"] * 2
