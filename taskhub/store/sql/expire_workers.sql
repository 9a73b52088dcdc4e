-- Declare dead those whose heartbeat is too old. From here on their heartbeats change nothing.
-- params: dead_s float8, except_for uuid
-- returns: id per worker
--
-- A heartbeat that lies ahead is from before the clock was set back; who lives has sent another since (an observer
-- declares nobody dead until the clock has gone evenly for long enough).
UPDATE workers SET expired = true
WHERE NOT expired AND id <> :except_for
    AND (heartbeat_at < clock_timestamp() - :dead_s * interval '1 s'
        OR heartbeat_at > clock_timestamp() + :dead_s * interval '1 s')
RETURNING id, host
