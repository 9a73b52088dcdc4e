-- What the walk looks after now: where waiting rows lie behind it, and the queues that are in use.
-- params: active_s float8, newest int, amount int
-- returns: queue, priority, mark, null per place behind; queue, null, null, epoch per queue that was met lately, has a place behind, or is among the newest rows
WITH behind AS MATERIALIZED (
    SELECT queue, priority::int AS priority, mark FROM lagging ORDER BY mark LIMIT :amount
), used AS (
    (SELECT name FROM queues WHERE active_at > (SELECT clock_timestamp() - :active_s * interval '1 s')
        ORDER BY active_at DESC LIMIT :amount)
    UNION
    SELECT queue FROM behind
    UNION
    SELECT queue FROM (
        SELECT queue FROM jobs
        WHERE id BETWEEN (SELECT taskhub_id_floor(clock_timestamp() - :active_s * interval '1 s'))
            AND (SELECT taskhub_id_floor(clock_timestamp() + interval '2 s'))
        ORDER BY id DESC LIMIT :newest
    ) AS young
)
SELECT queue, priority, mark, NULL::bigint AS epoch FROM behind
UNION ALL
SELECT u.name, NULL, NULL, coalesce(q.epoch, 0) FROM used u LEFT JOIN queues q ON q.name = u.name
