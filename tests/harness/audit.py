"""The judge of a run at rest: what clients were promised against what the handlers' ledger and the database say.

Knows nothing of how taskhub works inside: it reads rows, the ledger, and a history that a trigger writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.harness.ledger import Ledger
from tests.harness.rows import Columns, Rows

_TERMINAL = "('completed', 'failed', 'cancelled')"
_HISTORY = f"""
CREATE TABLE job_history (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid, before text, after text);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_history (id, before, after) VALUES (OLD.id, OLD.status, CASE TG_OP WHEN 'UPDATE' THEN NEW.status END);
    RETURN NULL;
END $$;
CREATE TRIGGER note_update AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.status IN {_TERMINAL}) EXECUTE FUNCTION note_change();
CREATE TRIGGER note_delete AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION note_change();
"""  # noqa: E501


def keep_history(rows: Rows) -> None:
    """Have the database write down every change of a job's status, and every touch of a finished job."""
    rows.sql(_HISTORY)


def history(rows: Rows, job_id: str) -> list[str]:
    """The statuses that a job went through after it was queued."""
    return [row["after"] for row in rows.sql("SELECT after FROM job_history WHERE id = %s ORDER BY seq", job_id)]


@dataclass
class Verdict:
    """What was found; a run without faults of taskhub's own has only empty lists."""

    accepted: int
    extra: int
    lost: list[str] = field(default_factory=list)  # accepted, and not there, not finished, or never executed
    unexplained: list[str] = field(default_factory=list)  # executed more often than its recorded causes say
    over_limit: list[str] = field(default_factory=list)  # executed more often than it may be
    regressed: list[str] = field(default_factory=list)  # changed after it was finished
    ownerless: list[str] = field(default_factory=list)  # running, and no living worker's slot holds it
    unknown: list[str] = field(default_factory=list)  # executed, and no such job exists

    @property
    def faults(self) -> dict[str, list[str]]:
        """Every kind of fault that was found, with the jobs."""
        lists = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return {name: found for name, found in lists.items() if found}


def audit(rows: Rows, ledger: Ledger, accepted: Iterable[str]) -> Verdict:
    """Compare at rest. `accepted`: the ids that clients were answered."""
    promised = set(accepted)
    jobs = {row["id"]: row for row in rows.sql(_JOBS)}
    counts = ledger.executions()
    ended = {entry.job for entry in ledger.entries("end")}
    verdict = Verdict(len(promised), sum(count - 1 for count in counts.values()))
    verdict.lost = sorted(job for job in promised if _is_lost(jobs.get(job), job in ended))
    verdict.unknown = sorted(set(counts) - set(jobs))
    for job_id, count in counts.items():
        job = jobs.get(job_id)
        if job is None:
            continue
        if count > 1 + job["errors"] + job["interruptions"]:
            verdict.unexplained.append(job_id)
        if count > job["max_attempts"] + job["interruptions"]:
            verdict.over_limit.append(job_id)
    verdict.regressed = [
        row["id"] for row in rows.sql(f"SELECT DISTINCT id FROM job_history WHERE before IN {_TERMINAL}")
    ]
    verdict.ownerless = [row["id"] for row in rows.sql(_OWNERLESS)]
    return verdict


def _is_lost(job: Columns | None, has_ended: bool) -> bool:
    if job is None or job["status"] not in ("completed", "failed", "cancelled"):
        return True
    return job["status"] == "completed" and not has_ended


_JOBS = """
SELECT j.id, j.status, j.interruptions, j.max_attempts,
    (SELECT count(*) FROM job_errors e WHERE e.job_id = j.id) AS errors
FROM jobs j
"""
_OWNERLESS = """
SELECT j.id FROM jobs j
WHERE j.status = 'running' AND NOT EXISTS (
    SELECT FROM slots s JOIN workers w ON w.id = s.worker
    WHERE s.lease = j.lease AND j.id = ANY (s.ids) AND NOT s.closed AND NOT w.expired)
"""
