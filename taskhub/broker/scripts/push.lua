-- Push fresh ids of one queue and priority, and ring.
--
-- KEYS[1] ready list, KEYS[2] bell;  ARGV: the ids, oldest first
-- returns the length of the list
local length = 0
for i = 1, #ARGV, 1000 do
    length = redis.call('LPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for _ = 1, math.min(#ARGV, 16) do redis.call('LPUSH', KEYS[2], '1') end
redis.call('LTRIM', KEYS[2], 0, 15)
return length
