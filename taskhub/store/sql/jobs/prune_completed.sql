-- Forget jobs that completed long ago; walks the primary key from the id given on.
-- params: since uuid, retention_s float8, amount int
-- returns: last, read, gone; one row: the last id read (null: none is left to read), how many were read, how many
--     were deleted
WITH kept AS MATERIALIZED (
    SELECT clock_timestamp() - :retention_s * interval '1 s' AS since
), old AS MATERIALIZED (
    SELECT id, status FROM jobs
    WHERE id > :since AND id < (SELECT taskhub_id_floor(since) FROM kept)
    ORDER BY id LIMIT :amount
), gone AS (
    DELETE FROM jobs j USING old o
    WHERE o.status = 'completed' AND j.id = o.id AND j.status = 'completed'
        AND coalesce(j.finished_at, j.updated_at) < (SELECT since FROM kept)
    RETURNING j.id
), errors_gone AS (
    DELETE FROM job_errors e USING gone g WHERE e.job_id = g.id
)
SELECT (SELECT id FROM old ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*)::int FROM old) AS read,
    (SELECT count(*)::int FROM gone) AS gone
