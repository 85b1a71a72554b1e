-- The oldest deadlines of a shard that have passed, ARGV[2] at most: the time, how many deadlines there are in all, then
-- members and their deadlines in turn.
return {now, redis.call('ZCARD', KEYS[1]), redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])}
