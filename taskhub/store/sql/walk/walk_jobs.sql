-- Which fresh rows of any queue are still queued, from an id on.
-- params: since uuid, before uuid, slack_s float8, amount int
-- returns: last, read, horizon, queues, id, queue, priority, is_late; first a row of how far was read (id null), then
--     one per waiting id (last null; is_late: ran out before its first start)
--
-- Reads up to `before` (null: no bound), never to ids nearer than `slack_s` to now, where the push may still be under
-- way. The horizon id is told if every row below it that will ever come was to be seen by this very reading.
WITH bounds AS MATERIALIZED (
    SELECT least(taskhub_id_floor(now - :slack_s * interval '1 s'), :before) AS upto, now
    FROM (SELECT clock_timestamp() AS now) AS moment
), walked AS MATERIALIZED (
    SELECT j.id, j.queue, j.priority::int AS priority, j.status = 'queued' AND j.run_at IS NULL AS waits,
        j.attempts = 0 AND j.expires_at <= (SELECT now FROM bounds) AS is_late
    FROM jobs j
    WHERE j.id >= :since AND j.id <= (SELECT upto FROM bounds)
    ORDER BY j.id LIMIT :amount
), met AS MATERIALIZED (
    SELECT count(*)::int AS rows FROM walked
)
SELECT CASE WHEN met.rows < :amount THEN greatest(b.upto, :since) ELSE (SELECT id FROM walked ORDER BY id DESC LIMIT 1) END AS last,
    met.rows AS read,
    CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) >= w.horizon_xid THEN w.horizon_id END AS horizon,
    ARRAY(SELECT DISTINCT queue FROM walked) AS queues,
    NULL::uuid AS id, NULL::text AS queue, NULL::int AS priority, NULL::bool AS is_late
FROM bounds b, met, walk w
UNION ALL
SELECT NULL, NULL, NULL, NULL, id, queue, priority, coalesce(is_late, false) FROM walked WHERE waits
