-- Jobs that could run now, per queue, counted to a bound: for when Redis cannot tell.
-- params: bound int
-- returns: queue, count
SELECT q.name, (
    SELECT count(*)::int FROM (
        SELECT FROM marks m CROSS JOIN LATERAL (
            (SELECT FROM jobs j WHERE j.queue = m.queue AND j.priority = m.priority AND j.run_at <= clock_timestamp()
                AND j.status = 'queued' LIMIT :bound)
            UNION ALL
            (SELECT FROM jobs j WHERE j.id >= m.mark AND j.queue = m.queue AND j.priority = m.priority
                AND j.run_at IS NULL AND j.status = 'queued' LIMIT :bound)
        ) AS waiting
        WHERE m.queue = q.name LIMIT :bound
    ) AS bounded)
FROM queues q
