-- Queued rows whose time has come, oldest first, per queue and priority that is not paused.
-- params: amount int
-- returns: queue, priority, id, run_at as seconds
SELECT m.queue, m.priority, due.id, extract(epoch FROM due.run_at)::float8
FROM marks m JOIN queues q ON q.name = m.queue AND NOT q.paused
CROSS JOIN LATERAL (
    SELECT j.id, j.run_at FROM jobs j
    WHERE j.queue = m.queue AND j.priority = m.priority AND j.run_at <= clock_timestamp() AND j.status = 'queued'
        AND (j.expires_at IS NULL OR j.expires_at > clock_timestamp())
    ORDER BY j.run_at LIMIT :amount
) AS due
