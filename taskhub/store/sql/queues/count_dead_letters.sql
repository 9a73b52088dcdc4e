-- How many dead letters there are, by queue and type, counted to a bound: the newest.
-- params: bound int
-- returns: queue, type, jobs
SELECT queue, type, count(*)::int AS jobs FROM (
    SELECT queue, type, status FROM jobs WHERE failed_at IS NOT NULL ORDER BY failed_at DESC LIMIT :bound
) AS ended
WHERE status = 'failed'
GROUP BY queue, type
