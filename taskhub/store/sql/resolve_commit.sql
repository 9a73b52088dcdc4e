-- A transaction that was to complete this job has an unknown outcome: if it has not happened, it never shall.
-- params: id uuid, lease uuid
-- returns: one row if the job was still running and is now queued again (an interruption, uncharged)
--
-- Waits for the transaction in doubt, which holds the row. No row: read the job's state in a second statement.
UPDATE jobs
SET status = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END, lease = NULL,
    run_at = CASE WHEN cancel_requested_at IS NULL THEN clock_timestamp() END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
    failed_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
    interruptions = interruptions + 1, updated_at = clock_timestamp()
WHERE id = :id AND status = 'running' AND lease = :lease
RETURNING id
