-- From a mark on: which fresh rows are still queued, up to where the queue's list must have them.
-- params: queue text, priority int, since uuid, tail uuid, slack_s float8, lost bool, amount int
-- returns: first a row (last id read, rows read, horizon id or null, true), then a row per waiting id
--
-- The list is first in first out: a row older than the id at its tail is not in it any more. `lost` (the
-- list's Redis forgot something) walks to now instead. `since` null begins at the mark. The horizon id is told
-- if every row below it that will ever come was to be seen by this very walk.
WITH bounds AS MATERIALIZED (
    SELECT greatest(m.mark, coalesce(:since, m.mark)) AS since, m.horizon_id, m.horizon_xid, CASE
        WHEN :lost THEN taskhub_id_floor(clock_timestamp() + interval '2 s')
        ELSE taskhub_id_floor(least(clock_timestamp(), taskhub_id_moment(:tail)) - :slack_s * interval '1 s')
        END AS upto
    FROM marks m WHERE m.queue = :queue AND m.priority = :priority
), walked AS MATERIALIZED (
    SELECT j.id, j.queue = :queue AND j.priority = :priority AND j.status = 'queued' AND j.run_at IS NULL AS waiting
    FROM bounds b, jobs j
    WHERE j.id >= b.since AND j.id <= b.upto
    ORDER BY j.id LIMIT :amount
)
SELECT coalesce((SELECT id FROM walked ORDER BY id DESC LIMIT 1), b.upto), (SELECT count(*)::int FROM walked),
    CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) >= b.horizon_xid THEN b.horizon_id END, true
FROM bounds b
UNION ALL
SELECT id, NULL, NULL, false FROM walked WHERE waiting
