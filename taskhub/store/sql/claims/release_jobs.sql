-- Give back claimed jobs that never started, uncharged.
-- params: ids uuid[], lease uuid
-- returns: id, status; per row that was still this lease's
-- transition: running -> queued, running -> cancelled
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
UPDATE jobs j
SET status = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
    run_at = CASE WHEN cancel_requested_at IS NULL THEN m.now END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN m.now END,
    failed_at = CASE WHEN cancel_requested_at IS NOT NULL THEN m.now END,
    lease = NULL, attempts = j.attempts - 1, started_at = NULL, updated_at = m.now
FROM moment m
WHERE j.id = ANY (:ids) AND j.status = 'running' AND j.lease = :lease
RETURNING j.id, j.status
