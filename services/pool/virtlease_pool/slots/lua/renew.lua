-- Renews claims on one hypervisor, and takes back those that were forgotten as long as there is room. Returns those that
-- are lost.
--
-- KEYS  1 the claims on the hypervisor; 2 the epoch; 3 see claim.lua
-- ARGV  1 the cap; 2 how long a claim lasts, in ms; 3 the epoch that the caller knows; 4 one to begin if there is none;
--       then the claims
local parts = redis.call('TIME')
local now = parts[1] * 1000 + math.floor(parts[2] / 1000)
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = ARGV[4]
  redis.call('SET', KEYS[2], epoch)
  if ARGV[3] ~= '' then redis.call('SET', KEYS[3], 1, 'PX', ARGV[2]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local lost, room = {}, tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
for place = 5, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[place]) then
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[place])
  elseif room > 0 then
    room = room - 1
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[place])
  else
    lost[#lost + 1] = ARGV[place]
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return {lost, epoch}
