-- ARGV  5 "1" to return a session that is there; 6 incarnation; 7 idle TTL; 8 maximum life; 9 labels as JSON; 10 size;
--       then `v:<key>` and text of each value
local before = known()
if before then return before end
local found = find()
if found then
  if ARGV[5] ~= '1' then return {'exists'} end
  touch(found)
  remember({'known', id, 0})
  return {'ok', now, redis.call('HGETALL', session)}
end
local ttl, latest = tonumber(ARGV[7]), now + tonumber(ARGV[8])
local deadline = math.min(now + ttl, latest)
local flat = {'_d', deadline, '_v', 1, '_i', ARGV[6], '_t', ttl, '_m', latest, '_n', ARGV[10], '_c', now, '_u', now,
  '_l', ARGV[9]}
local keys = {}
for place = 11, #ARGV, 2 do
  flat[#flat + 1] = ARGV[place]
  flat[#flat + 1] = ARGV[place + 1]
  keys[#keys + 1] = string.sub(ARGV[place], 3)
end
redis.call('ZADD', index, 0, id) -- a server that is full refuses the first write
redis.call('UNLINK', session) -- one of the dead may lie here
write(flat)
redis.call('ZADD', deadlines, deadline, member)
announce('created', ARGV[6] .. '-1', ARGV[9], keys)
remember({'known', id, 1})
return {'created', now, deadline, latest}
