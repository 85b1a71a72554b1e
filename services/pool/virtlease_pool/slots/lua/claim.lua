-- Claims a slot: 1, or 0 while there is none.
--
-- KEYS  1 the claims on a hypervisor, by the time in ms at which they end; 2 the epoch: gone when the server has forgotten
--       everything; 3 there while claims that were forgotten can still come back
-- ARGV  1 the claim; 2 the cap; 3 how long a claim lasts, in ms; 4 the epoch that the caller knows, empty for none; 5 one
--       to begin if there is none
local parts = redis.call('TIME')
local now = parts[1] * 1000 + math.floor(parts[2] / 1000)
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = ARGV[5]
  redis.call('SET', KEYS[2], epoch)
  if ARGV[4] ~= '' then redis.call('SET', KEYS[3], 1, 'PX', ARGV[3]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('EXISTS', KEYS[3]) == 1 then return {0, epoch} end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {0, epoch} end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return {1, epoch}
