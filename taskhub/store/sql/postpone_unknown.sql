-- Give back jobs whose type this worker does not know: another may, during a rolling deploy. After an hour they fail.
-- params: ids uuid[], lease uuid, delay_s float8
-- returns: id, status
UPDATE jobs
SET status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN created_at < clock_timestamp() - interval '1 h' THEN 'failed' ELSE 'queued' END,
    run_at = CASE WHEN cancel_requested_at IS NULL AND created_at >= clock_timestamp() - interval '1 h'
        THEN clock_timestamp() + :delay_s * interval '1 s' END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR created_at < clock_timestamp() - interval '1 h'
        THEN clock_timestamp() END,
    failed_at = CASE WHEN cancel_requested_at IS NOT NULL OR created_at < clock_timestamp() - interval '1 h'
        THEN clock_timestamp() END,
    failure_reason = CASE WHEN cancel_requested_at IS NULL AND created_at < clock_timestamp() - interval '1 h'
        THEN 'unknown_type' END,
    lease = NULL, attempts = attempts - 1, started_at = NULL, updated_at = clock_timestamp()
WHERE id = ANY (:ids) AND status = 'running' AND lease = :lease
RETURNING id, status
