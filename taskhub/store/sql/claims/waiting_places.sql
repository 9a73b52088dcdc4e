-- Where jobs wait that could run now: for who does not hear of them by a bell.
-- params: places int, newest int
-- returns: queue, priority; highest priority first
--
-- Three sources, each bounded: places behind the walk, places with due rows, and the newest rows.
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
)
SELECT w.queue, w.priority FROM (
    (SELECT queue, priority::int AS priority FROM lagging ORDER BY mark LIMIT :places)
    UNION
    SELECT p.queue, p.priority FROM due_places p
    WHERE (SELECT j.run_at <= (SELECT clock_timestamp()) FROM jobs j
        WHERE j.queue = p.queue AND j.priority = p.priority AND j.run_at IS NOT NULL ORDER BY j.run_at LIMIT 1)
    UNION
    SELECT n.queue, n.priority::int FROM (
        SELECT queue, priority, status, run_at FROM jobs
        WHERE id >= (SELECT least(seen, taskhub_id_floor(taskhub_id_moment(seen) - interval '10 s')) FROM walk)
            AND id <= (SELECT taskhub_id_floor(clock_timestamp() + interval '2 s'))
        ORDER BY id DESC LIMIT :newest
    ) AS n
    WHERE n.status = 'queued' AND n.run_at IS NULL
) AS w
WHERE NOT EXISTS (SELECT FROM queues q WHERE q.name = w.queue AND q.paused)
ORDER BY w.priority DESC
