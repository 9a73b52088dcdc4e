-- Jobs that could run now, per queue, counted to a bound: for when Redis cannot tell.
-- params: bound int, places int, stretch int
-- returns: queue, depth
--
-- Due rows by their index; fresh ones among the newest, and among the first `stretch` rows of each place behind the
-- walk. So a queue with much behind it is counted too low, and never as 0.
WITH RECURSIVE due_places AS (
    (SELECT j.queue, j.priority::int AS priority, 1 AS number FROM jobs j
        WHERE j.run_at IS NOT NULL ORDER BY j.queue, j.priority, j.run_at LIMIT 1)
    UNION ALL
    SELECT following.queue, following.priority, p.number + 1
    FROM due_places p CROSS JOIN LATERAL (
        SELECT j.queue, j.priority::int AS priority FROM jobs j
        WHERE j.run_at IS NOT NULL AND (j.queue, j.priority) > (p.queue, p.priority)
        ORDER BY j.queue, j.priority, j.run_at LIMIT 1
    ) AS following
    WHERE p.number < :places
), start AS MATERIALIZED (
    SELECT least(seen, taskhub_id_floor(taskhub_id_moment(seen) - interval '10 s')) AS id FROM walk
), due AS (
    SELECT p.queue FROM due_places p CROSS JOIN LATERAL (
        SELECT FROM jobs j WHERE j.queue = p.queue AND j.priority = p.priority
            AND j.run_at <= (SELECT clock_timestamp()) AND j.status = 'queued' ORDER BY j.run_at LIMIT :bound
    ) AS ready
    LIMIT :bound
), behind AS (
    SELECT l.queue FROM (SELECT * FROM lagging ORDER BY mark LIMIT :places) AS l CROSS JOIN LATERAL (
        SELECT FROM (
            SELECT j.queue, j.priority, j.status, j.run_at FROM jobs j
            WHERE j.id >= l.mark AND j.id < (SELECT id FROM start) ORDER BY j.id LIMIT :stretch
        ) AS rows
        WHERE rows.queue = l.queue AND rows.priority = l.priority AND rows.status = 'queued' AND rows.run_at IS NULL
    ) AS ready
    LIMIT :bound
), newest AS (
    SELECT rows.queue FROM (
        SELECT j.queue, j.status, j.run_at FROM jobs j WHERE j.id >= (SELECT id FROM start) ORDER BY j.id LIMIT :bound
    ) AS rows
    WHERE rows.status = 'queued' AND rows.run_at IS NULL
), counted AS (
    SELECT queue, count(*)::int AS ready FROM (
        SELECT queue FROM due UNION ALL SELECT queue FROM behind UNION ALL SELECT queue FROM newest
    ) AS waiting GROUP BY queue
)
SELECT coalesce(q.name, c.queue) AS queue, least(coalesce(c.ready, 0), :bound) AS depth FROM counted c FULL JOIN (
    SELECT name FROM queues ORDER BY name LIMIT 10000
) AS q ON q.name = c.queue
