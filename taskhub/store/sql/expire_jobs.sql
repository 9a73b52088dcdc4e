-- Queued jobs that were not started in time fail.
-- params: amount int
-- returns: id per job
UPDATE jobs SET status = 'failed', failure_reason = 'expired', run_at = NULL,
    finished_at = clock_timestamp(), failed_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM jobs
    WHERE expires_at <= clock_timestamp() AND status = 'queued'
    ORDER BY expires_at LIMIT :amount
    FOR UPDATE SKIP LOCKED
) AND status = 'queued'
RETURNING id
