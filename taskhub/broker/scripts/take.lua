-- Take the next ids of one queue into a slot's in-flight list.
--
-- KEYS[1]  the in-flight list whose ids are claimed (deleted first: a full Redis refuses scripts whose
--          first write allocates), KEYS[2] the in-flight list to fill, KEYS[3] the bell,
--          KEYS[4..] again and ready of each priority, highest first, in pairs
-- ARGV[1]  how many ids at the most, ARGV[2] how many children share the queue
-- returns  the ids, in the order to run them
--
-- A list to fill that is not empty belongs to a call whose answer was lost: it is returned as it is.
-- Who takes the last id silences the bell, too: among many queues, bells for nothing would be most of what is heard.
-- Of one priority, half comes from each kind while both last, so that neither can starve the other; which
-- of them has the odd one is left to chance, because a child may take one at a time.
redis.call('DEL', KEYS[1])
local left = redis.call('LRANGE', KEYS[2], 0, -1)
if #left > 0 then return left end
local lists = redis.call('EXISTS', unpack(KEYS, 4)) -- that hold something: an empty one does not exist
if lists == 0 then
    redis.call('DEL', KEYS[3])
    return {}
end

local want, children = tonumber(ARGV[1]), tonumber(ARGV[2])
local odd = tonumber(redis.call('TIME')[2]) % 2
local taken, seen, remain = {}, 0, 0

local function take_again(key, amount)
    if amount < 1 then return 0 end
    local found = redis.call('ZPOPMIN', key, amount)
    for i = 1, #found, 2 do taken[#taken + 1] = found[i] end
    return #found / 2
end

local function take_ready(key, amount)
    if amount < 1 then return 0 end
    local found = redis.call('LRANGE', key, -amount, -1)
    if #found == 0 then return 0 end
    redis.call('LTRIM', key, 0, -amount - 1)
    for i = #found, 1, -1 do taken[#taken + 1] = found[i] end
    return #found
end

for i = 4, #KEYS, 2 do
    local due, fresh = redis.call('ZCARD', KEYS[i]), redis.call('LLEN', KEYS[i + 1])
    if due + fresh > 0 then
        local share = math.min(want - #taken, math.max(1, math.ceil((due + fresh) / children)))
        local from_due = math.min(due, math.max(share - fresh, math.floor((share + odd) / 2)))
        local got = take_again(KEYS[i], from_due)
        got = got + take_ready(KEYS[i + 1], share - got)
        seen = seen + (due > 0 and 1 or 0) + (fresh > 0 and 1 or 0)
        remain = remain + due + fresh - got
    end
    if #taken >= want then break end
end

if seen == lists and remain == 0 then redis.call('DEL', KEYS[3]) end -- it would ring for nothing
for i = 1, #taken, 1000 do
    redis.call('RPUSH', KEYS[2], unpack(taken, i, math.min(i + 999, #taken)))
end
return taken
