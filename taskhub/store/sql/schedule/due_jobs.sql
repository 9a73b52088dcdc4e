-- Queued rows whose time has come, oldest first, place by place: a place is a queue with a priority.
-- params: after_queue text, after_priority int, places int, amount int, total int
-- returns: queue, priority, id, due_s, is_late; is_late: ran out before its first start; an id of null: nothing is
--     due there
--
-- Walks the places that have a run_at at all, by the index, from behind the one given on: what it costs does not
-- depend on how many queues are known. At most `places` of them, `amount` rows of each, `total` in all; so the
-- next pass begins behind the place of the last row. A paused queue's rows stay where they are.
WITH RECURSIVE places AS (
    (SELECT j.queue, j.priority::int AS priority, 1 AS number FROM jobs j
        WHERE j.run_at IS NOT NULL AND (j.queue, j.priority) > (:after_queue, :after_priority)
        ORDER BY j.queue, j.priority, j.run_at LIMIT 1)
    UNION ALL
    SELECT following.queue, following.priority, p.number + 1
    FROM places p CROSS JOIN LATERAL (
        SELECT j.queue, j.priority::int AS priority FROM jobs j
        WHERE j.run_at IS NOT NULL AND (j.queue, j.priority) > (p.queue, p.priority)
        ORDER BY j.queue, j.priority, j.run_at LIMIT 1
    ) AS following
    WHERE p.number < :places
)
SELECT p.queue, p.priority, due.id, extract(epoch FROM due.run_at)::float8 AS due_s, due.is_late
FROM places p LEFT JOIN queues q ON q.name = p.queue
LEFT JOIN LATERAL (
    SELECT j.id, j.run_at, j.attempts = 0 AND j.expires_at <= (SELECT clock_timestamp()) AS is_late
    FROM jobs j
    WHERE j.queue = p.queue AND j.priority = p.priority AND j.run_at <= (SELECT clock_timestamp()) AND j.status = 'queued'
    ORDER BY j.run_at LIMIT :amount
) AS due ON NOT coalesce(q.paused, false)
LIMIT :total
