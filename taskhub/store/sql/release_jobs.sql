-- Give back claimed jobs that never started, uncharged.
-- params: ids uuid[], lease uuid, delay_s float8
-- returns: id, status, queue, priority per row that was still this lease's
UPDATE jobs
SET status = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
    run_at = CASE WHEN cancel_requested_at IS NULL THEN clock_timestamp() + :delay_s * interval '1 s' END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
    failed_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
    lease = NULL, attempts = attempts - 1, started_at = NULL, updated_at = clock_timestamp()
WHERE id = ANY (:ids) AND status = 'running' AND lease = :lease
RETURNING id, status, queue, priority
