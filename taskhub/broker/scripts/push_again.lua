-- Push ids that are due again (or were lost) of one queue and priority, and ring. Pushing one twice is harmless.
--
-- KEYS[1] again set, KEYS[2] bell;  ARGV: score, id, score, id, ...
-- returns how many were not there yet
local added = 0
for i = 1, #ARGV, 1000 do
    added = added + redis.call('ZADD', KEYS[1], 'NX', unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for _ = 1, math.min(added, 16) do redis.call('LPUSH', KEYS[2], '1') end
redis.call('LTRIM', KEYS[2], 0, 15)
return added
