-- Every queue that was ever used.
-- params:
-- returns: name, paused
SELECT name, paused FROM queues ORDER BY name
