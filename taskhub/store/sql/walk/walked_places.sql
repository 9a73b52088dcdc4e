-- What the walk looks after now: where waiting rows lie behind it, and the queues that are in use.
-- params: active_s float8, newest int, amount int
-- returns: queue, priority, mark, epoch, is_new; a row per place behind (epoch null), and one per queue in use lately
--     (priority and mark null; is_new: something of it waits or is new)
WITH behind AS MATERIALIZED (
    SELECT queue, priority::int AS priority, mark FROM lagging ORDER BY mark LIMIT :amount
), used AS (
    (SELECT name, false AS is_new FROM queues WHERE active_at > (SELECT clock_timestamp() - :active_s * interval '1 s')
        ORDER BY active_at DESC LIMIT :amount)
    UNION
    SELECT queue, true FROM behind
    UNION
    SELECT queue, true FROM (
        SELECT queue FROM jobs
        WHERE id BETWEEN (SELECT taskhub_id_floor(clock_timestamp() - :active_s * interval '1 s'))
            AND (SELECT taskhub_id_floor(clock_timestamp() + interval '2 s'))
        ORDER BY id DESC LIMIT :newest
    ) AS young
)
SELECT queue, priority, mark, NULL::bigint AS epoch, true AS is_new FROM behind
UNION ALL
SELECT u.name, NULL, NULL, coalesce(max(q.epoch), 0), bool_or(u.is_new)
FROM used u LEFT JOIN queues q ON q.name = u.name
GROUP BY u.name
