-- How many dead letters there are, by queue and type.
-- params:
-- returns: queue, type, count
SELECT queue, type, count(*)::int FROM jobs
WHERE failed_at IS NOT NULL AND status = 'failed'
GROUP BY queue, type
