-- Buries the session if its deadline has passed, and files it under its present deadline if not.
local found, wrong = find()
if found then
  redis.call('ZADD', deadlines, found.deadline, member)
  return {'ok'}
end
redis.call('ZREM', deadlines, member) -- one of the dead, or one that the server evicted
redis.call('ZREM', index, id)
return wrong
