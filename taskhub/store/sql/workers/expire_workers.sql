-- Declare dead those whose heartbeat was too old a moment ago. From here on their heartbeats change nothing.
-- params: seen_s float8, dead_s float8, except_for uuid
-- returns: id, host; per worker
--
-- Silence is measured up to `seen_s`, when this observer has last read PostgreSQL's clock, not up to now: a server that
-- stood still for long may find this statement before it finds the heartbeats of those who were waiting for it, too.
-- A heartbeat that lies ahead is from before the clock was set back; who lives has sent another since (an observer
-- declares nobody dead until the clock has gone evenly for long enough).
UPDATE workers SET expired = true
WHERE NOT expired AND id <> :except_for
    AND (heartbeat_at < to_timestamp(:seen_s) - :dead_s * interval '1 s'
        OR heartbeat_at > clock_timestamp() + :dead_s * interval '1 s')
RETURNING id, host
