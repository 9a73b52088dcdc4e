-- Forget idempotency keys whose time is over and whose job is, too; walks them by time from the one given on.
-- params: since timestamptz, skip int, amount int
-- returns: last, same, read; one row: the last time read (null: none is left to read), rows of that time, how many
--     were read
--
-- As in prune_unique_keys, what is deleted is what was read. `skip` rows of the time `since` were read before and stay.
WITH looked AS MATERIALIZED (
    SELECT key, job_id, expires_at FROM idempotency_keys
    WHERE expires_at >= :since AND expires_at < (SELECT clock_timestamp())
    ORDER BY expires_at OFFSET :skip LIMIT :amount
), over AS MATERIALIZED (
    SELECT l.* FROM looked l
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = l.job_id AND j.status IN ('queued', 'running'))
), gone AS (
    DELETE FROM idempotency_keys k USING over o
    WHERE k.key = o.key AND k.job_id = o.job_id AND k.expires_at = o.expires_at
    RETURNING k.expires_at
), last AS MATERIALIZED (
    SELECT max(expires_at) AS at FROM looked
)
SELECT (SELECT at::text FROM last) AS last,
    (SELECT count(*)::int FROM looked WHERE expires_at = (SELECT at FROM last))
        - (SELECT count(*)::int FROM gone WHERE expires_at = (SELECT at FROM last)) AS same,
    (SELECT count(*)::int FROM looked) AS read
