-- Forget requests to cancel jobs that are over.
-- params: after uuid, amount int
-- returns: last, read; one row: the last job read (null: none is left to read), how many were read
--
-- As in prune_unique_keys, what is deleted is what was read.
WITH looked AS MATERIALIZED (
    SELECT job_id, requested_at FROM cancellations WHERE job_id > :after ORDER BY job_id LIMIT :amount
), over AS MATERIALIZED (
    SELECT l.* FROM looked l
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = l.job_id AND j.status IN ('queued', 'running'))
), gone AS (
    DELETE FROM cancellations c USING over o WHERE c.job_id = o.job_id AND c.requested_at = o.requested_at
)
SELECT (SELECT job_id FROM looked ORDER BY job_id DESC LIMIT 1) AS last, (SELECT count(*)::int FROM looked) AS read
