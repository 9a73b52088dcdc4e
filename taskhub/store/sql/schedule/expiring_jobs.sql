-- Which jobs have reached their expires_at and were never started: reads on from where the last reading ended.
-- params: since timestamptz, skip int, amount int
-- returns: last, same, read, ids; one row: the last time read (null: none), rows of that time, rows read, those that
--     are late
--
-- Finished rows keep their expires_at, so the index holds far more than what is late. `skip` rows of the time
-- `since` were read before.
WITH looked AS MATERIALIZED (
    SELECT id, expires_at, status = 'queued' AND attempts = 0 AS is_late
    FROM jobs
    WHERE expires_at >= :since AND expires_at <= (SELECT clock_timestamp())
    ORDER BY expires_at OFFSET :skip LIMIT :amount
), last AS MATERIALIZED (
    SELECT max(expires_at) AS at FROM looked
)
SELECT (SELECT at::text FROM last) AS last,
    (SELECT count(*)::int FROM looked WHERE expires_at = (SELECT at FROM last)) AS same,
    (SELECT count(*)::int FROM looked) AS read, ARRAY(SELECT id::text FROM looked WHERE is_late) AS ids
