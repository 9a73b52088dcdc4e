-- Give back jobs whose type this worker does not know: another may, during a rolling deploy. An hour after the first time they fail.
-- params: ids uuid[], lease uuid, delay_s float8
-- returns: id, status
-- transition: running -> queued, running -> failed, running -> cancelled
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), held AS MATERIALIZED (
    SELECT j.id, coalesce(j.unknown_since, m.now) AS unknown_since,
        CASE WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
            WHEN j.unknown_since NOT BETWEEN m.now - interval '1 h' AND m.now + interval '1 h' THEN 'failed'
            ELSE 'queued' END AS status
    FROM jobs j, moment m
    WHERE j.id = ANY (:ids) AND j.status = 'running' AND j.lease = :lease
    FOR UPDATE OF j
)
UPDATE jobs j
SET status = h.status, lease = NULL, updated_at = m.now, unknown_since = h.unknown_since,
    run_at = CASE WHEN h.status = 'queued' THEN m.now + :delay_s * interval '1 s' END,
    finished_at = CASE WHEN h.status <> 'queued' THEN m.now END,
    failed_at = CASE WHEN h.status <> 'queued' THEN m.now END,
    failure_reason = CASE WHEN h.status = 'failed' THEN 'unknown_type' END,
    attempts = j.attempts - 1, started_at = NULL
FROM held h, moment m
WHERE j.id = h.id AND j.status = 'running' AND j.lease = :lease
RETURNING j.id, j.status
