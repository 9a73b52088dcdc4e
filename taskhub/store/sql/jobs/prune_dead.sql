-- Forget failed and cancelled jobs that ended long ago, with their history, oldest first.
-- params: retention_s float8, amount int
-- returns: read, gone; one row: how many were read, how many were deleted
WITH old AS MATERIALIZED (
    SELECT id FROM jobs
    WHERE failed_at < (SELECT clock_timestamp() - :retention_s * interval '1 s')
    ORDER BY failed_at LIMIT :amount
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM jobs j USING old o
    WHERE j.id = o.id AND j.status IN ('failed', 'cancelled')
    RETURNING j.id
), errors_gone AS (
    DELETE FROM job_errors e USING gone g WHERE e.job_id = g.id
)
SELECT (SELECT count(*)::int FROM old) AS read, (SELECT count(*)::int FROM gone) AS gone
