-- The queues that are in use, or were lately.
-- params:
-- returns: name
SELECT name FROM queues ORDER BY name LIMIT 10000
