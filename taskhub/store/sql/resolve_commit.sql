-- A transaction that was to complete this job has an unknown outcome: if it has not happened, it never shall.
-- params: id uuid, lease uuid
-- returns: one row if the job was still running and is now queued again (an interruption, uncharged)
--
-- Waits for the transaction in doubt, which holds the row. No row: read the job's state in a second statement.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
UPDATE jobs j
SET status = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END, lease = NULL,
    run_at = CASE WHEN cancel_requested_at IS NULL THEN m.now END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN m.now END,
    failed_at = CASE WHEN cancel_requested_at IS NOT NULL THEN m.now END,
    interruptions = j.interruptions + 1, updated_at = m.now
FROM moment m
WHERE j.id = :id AND j.status = 'running' AND j.lease = :lease
RETURNING j.id
