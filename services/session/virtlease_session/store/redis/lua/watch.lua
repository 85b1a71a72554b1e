-- Has the changes of an owner kept for another while, and returns the place of the newest. The first entry of a stream
-- says nothing but that it began: a watcher always stands on an entry, so that it sees when that one is gone.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], '*', 'type', 'begun')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
