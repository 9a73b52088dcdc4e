-- The queues that a worker which serves all listens to: those in use, and some that were lately.
-- params: active_s float8, others int
-- returns: name
--
-- A queue that lies idle costs nobody anything; the walk tells of its first job within two seconds.
SELECT name FROM (SELECT name, active_at FROM queues ORDER BY active_at DESC LIMIT 10000) AS known
WHERE active_at > (SELECT clock_timestamp() - :active_s * interval '1 s')
UNION
SELECT name FROM (SELECT name FROM queues ORDER BY active_at DESC LIMIT :others) AS recent
