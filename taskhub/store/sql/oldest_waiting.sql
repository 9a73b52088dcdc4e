-- How long the oldest job that could run now has waited in a queue.
-- params: queue text
-- returns: seconds, or null if none waits
SELECT extract(epoch FROM clock_timestamp() - min(since))::float8
FROM marks m CROSS JOIN LATERAL (
    (SELECT j.run_at AS since FROM jobs j
        WHERE j.queue = m.queue AND j.priority = m.priority AND j.run_at <= clock_timestamp() AND j.status = 'queued'
        ORDER BY j.run_at LIMIT 1)
    UNION ALL
    (SELECT j.created_at FROM jobs j
        WHERE j.id >= m.mark AND j.queue = m.queue AND j.priority = m.priority AND j.run_at IS NULL
            AND j.status = 'queued'
        ORDER BY j.id LIMIT 1)
) AS oldest
WHERE m.queue = :queue
