-- ARGV  5, 6 the etag and the incarnation to expect, empty for any; 7 the new idle TTL, empty for the one it has
local before = known()
if before and before[1] ~= 'known' then return before end
local found, wrong = find()
if not found then return wrong end
if not before then
  wrong = unexpected(found, ARGV[5], ARGV[6])
  if wrong then return wrong end
  found.ttl = tonumber(ARGV[7]) or found.ttl
  local deadline = slide(found)
  redis.call('HSET', session, '_d', deadline, '_t', found.ttl)
  redis.call('ZADD', deadlines, 'LT', deadline, member) -- a shorter time may be over before the sweep would look
  remember({'known'})
  announce('refreshed', found.etag)
end
return {'ok', now, fields({'_d', '_v', '_i', '_t', '_m', '_c', '_u', '_l'})}
