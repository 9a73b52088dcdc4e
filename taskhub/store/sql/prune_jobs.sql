-- Forget jobs that ended long ago; walks the primary key from the oldest id.
-- params: since uuid, retention_s float8, dead_retention_s float8, amount int
-- returns: one row: last id read (null: none left to read), how many were deleted
--
-- A retention of 0 keeps for ever.
WITH old AS MATERIALIZED (
    SELECT id, status, coalesce(finished_at, updated_at) AS ended
    FROM jobs
    WHERE id > :since
        AND id < taskhub_id_floor(clock_timestamp() - least(nullif(:retention_s, 0), nullif(:dead_retention_s, 0)) * interval '1 s')
    ORDER BY id LIMIT :amount
), gone AS (
    DELETE FROM jobs j USING old o
    WHERE j.id = o.id AND j.status = o.status AND (
        o.status = 'completed' AND :retention_s > 0
            AND o.ended < clock_timestamp() - :retention_s * interval '1 s'
        OR o.status IN ('failed', 'cancelled') AND :dead_retention_s > 0
            AND o.ended < clock_timestamp() - :dead_retention_s * interval '1 s')
    RETURNING j.id
), errors_gone AS (
    DELETE FROM job_errors e USING gone g WHERE e.job_id = g.id
)
SELECT (SELECT max(id::text) FROM old), (SELECT count(*)::int FROM gone)
