-- The queues that are in use, or were lately.
-- params:
-- returns: name, paused
SELECT name, paused FROM queues ORDER BY name LIMIT 10000
