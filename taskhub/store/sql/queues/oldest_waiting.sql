-- How long the oldest job that could run now has waited in a queue.
-- params: queue text, stretch int
-- returns: age_s; null if none waits
--
-- Of fresh rows those count that lie behind the walk, or among the next `stretch` rows.
SELECT greatest(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 AS age_s FROM (
    SELECT due.since FROM generate_series(0, 9) AS p (priority) CROSS JOIN LATERAL (
        SELECT j.run_at AS since FROM jobs j
        WHERE j.queue = :queue AND j.priority = p.priority AND j.run_at <= (SELECT clock_timestamp()) AND j.status = 'queued'
        ORDER BY j.run_at LIMIT 1
    ) AS due
    UNION ALL
    SELECT behind.created_at FROM lagging l CROSS JOIN LATERAL (
        SELECT min(rows.created_at) AS created_at FROM (
            SELECT j.* FROM jobs j WHERE j.id >= l.mark ORDER BY j.id LIMIT :stretch
        ) AS rows
        WHERE rows.queue = l.queue AND rows.priority = l.priority AND rows.status = 'queued' AND rows.run_at IS NULL
    ) AS behind
    WHERE l.queue = :queue
    UNION ALL
    SELECT min(rows.created_at) FROM (
        SELECT j.* FROM jobs j
        WHERE j.id >= (SELECT least(seen, taskhub_id_floor(taskhub_id_moment(seen) - interval '10 s')) FROM walk)
        ORDER BY j.id LIMIT :stretch
    ) AS rows
    WHERE rows.queue = :queue AND rows.status = 'queued' AND rows.run_at IS NULL
) AS oldest
