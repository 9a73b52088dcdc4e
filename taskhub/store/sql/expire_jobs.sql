-- Queued jobs that were not started in time fail.
-- params: amount int
-- returns: id per job
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
UPDATE jobs j
SET status = 'failed', failure_reason = 'expired', run_at = NULL, finished_at = m.now, failed_at = m.now,
    updated_at = m.now
FROM moment m
WHERE j.id IN (
    SELECT id FROM jobs
    WHERE expires_at <= clock_timestamp() AND status = 'queued'
    ORDER BY expires_at LIMIT :amount
    FOR UPDATE SKIP LOCKED
) AND j.status = 'queued'
RETURNING j.id
