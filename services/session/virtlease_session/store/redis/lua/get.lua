-- ARGV  5 "1" to move the deadline; 6 the fields to read, or "*" for all
local found, wrong = find()
if not found then return wrong end
if ARGV[5] == '1' then touch(found) end
if ARGV[6] == '*' then return {'ok', now, redis.call('HGETALL', session)} end
return {'ok', now, fields({unpack(ARGV, 6)})}
