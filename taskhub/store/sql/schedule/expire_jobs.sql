-- Of some jobs, those that were not started in time fail. What has started once is bound by no expires_at.
-- params: ids uuid[]
-- returns: id, queue, type; per job that failed
-- transition: queued -> failed
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), late AS MATERIALIZED (
    SELECT j.id FROM jobs j, moment m
    WHERE j.id = ANY (:ids) AND j.status = 'queued' AND j.attempts = 0 AND j.expires_at <= m.now
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE jobs j
SET status = 'failed', failure_reason = 'expired', run_at = NULL, finished_at = m.now, failed_at = m.now,
    updated_at = m.now
FROM moment m, late l
WHERE j.id = l.id AND j.status = 'queued' AND j.attempts = 0
RETURNING j.id, j.queue, j.type
