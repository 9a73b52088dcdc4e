-- Every queue and priority that was ever used.
-- params:
-- returns: queue, priority
SELECT queue, priority FROM marks ORDER BY queue, priority
