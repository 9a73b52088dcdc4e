-- Take the turn of walking marks: of several workers, one at a time does each.
-- params: every_s float8, amount int
-- returns: queue, priority, epoch of the queue
UPDATE marks m SET walked_at = clock_timestamp()
FROM queues q
WHERE q.name = m.queue AND (m.queue, m.priority) IN (
    SELECT queue, priority FROM marks
    WHERE walked_at < clock_timestamp() - :every_s * interval '1 s'
    ORDER BY walked_at LIMIT :amount
    FOR UPDATE SKIP LOCKED
)
RETURNING m.queue, m.priority, q.epoch
