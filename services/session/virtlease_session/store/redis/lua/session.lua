-- What every verb on one session begins with, after clock.lua.
--
-- KEYS  1 the session, a hash; 2 the deadlines of its shard, by <id>:<owner>; 3 the ids of its owner in the shard;
--       4 the changes of its owner in the shard, a stream that is there only while somebody watches;
--       5 the outcome of the request, if the request has an id
-- ARGV  1 see clock.lua; 2 the session's id; 3 its owner; 4 the fingerprint of the request
--
-- The hash of a session has `v:<key>` for each value and, for itself, _d deadline, _v version, _i incarnation,
-- _t idle TTL, _m latest deadline, _n size in bytes, _c created, _u updated, _l labels as JSON. That of a dead one has
-- _x, the word for how it died, and _a, when. A use writes _d and leaves the deadlines of the shard as they are:
-- the sweep looks here before it believes them.
--
-- A reply begins with a word: "ok", or what is wrong.

local session, deadlines, index, changes, outcome = unpack(KEYS)
local id, owner, fingerprint = ARGV[2], ARGV[3], ARGV[4]
local member = id .. ':' .. owner

-- What the request came to when it was carried out before, or a word on its misuse; nil for a new one.
local function known()
  if not outcome then return nil end
  local kept = redis.call('GET', outcome)
  if not kept then return nil end
  local at, print, reply = unpack(cmsgpack.unpack(kept))
  if now - at >= KEPT then return nil end
  if print ~= fingerprint then return {'request_id_reused'} end
  return reply
end

local function remember(reply)
  if outcome then
    redis.call('SET', outcome, cmsgpack.pack({now, fingerprint, reply}), 'PX', KEPT)
  end
  return reply
end

-- Tells the owner's watchers, if there are any.
local function announce(kind, etag, labels, keys)
  if redis.call('EXISTS', changes) == 0 then return end
  redis.call('XADD', changes, 'MAXLEN', HISTORY, '*', 'type', kind, 'id', id, 'etag', etag, 'at', now,
    'labels', labels or redis.call('HGET', session, '_l'), 'keys', keys and #keys > 0 and cjson.encode(keys) or '[]')
  redis.call('PUBLISH', CHANNEL .. owner, changes)
end

-- A server that is full refuses a script whose first write takes room, and no other: so this begins by making some.
local function bury(how, etag)
  local labels = redis.call('HGET', session, '_l')
  redis.call('UNLINK', session)
  redis.call('HSET', session, '_x', how, '_a', now)
  redis.call('PEXPIRE', session, KEPT)
  redis.call('ZREM', deadlines, member)
  redis.call('ZREM', index, id)
  announce(how, etag, labels)
end

-- The session if it lives, else nil and the word for what became of it.
local function find()
  local f = redis.call('HMGET', session, '_d', '_v', '_i', '_t', '_m', '_n', '_x', '_a')
  if f[1] then
    local etag = f[3] .. '-' .. f[2]
    if tonumber(f[1]) > now then
      return {deadline = tonumber(f[1]), version = tonumber(f[2]), incarnation = f[3], ttl = tonumber(f[4]),
        latest = tonumber(f[5]), size = tonumber(f[6]), etag = etag}
    end
    bury('expired', etag)
    return nil, {'expired', 'now'}
  end
  if f[7] and now - tonumber(f[8]) < KEPT then return nil, {f[7]} end
  return nil, {'not_found'}
end

-- The word for a session that is not as the caller expected, nil when it is.
local function unexpected(found, etag, incarnation)
  if etag ~= '' and etag ~= found.etag then return {'conflict', 'etag', found.etag} end
  if incarnation ~= '' and incarnation ~= found.incarnation then return {'conflict', 'incarnation', found.etag} end
  return nil
end

-- The deadline of a session that is used now.
local function slide(found)
  return math.min(now + found.ttl, found.latest)
end

-- Moves the deadline of a session that is read. A server that is full does not let it; reading goes on.
local function touch(found)
  local done = redis.pcall('HSET', session, '_d', slide(found))
  if type(done) == 'table' and done.err and not string.find(done.err, 'OOM', 1, true) then error(done) end
end

-- Some fields of the session's hash, each name followed by its value.
local function fields(names)
  local flat = {}
  for place, value in ipairs(redis.call('HMGET', session, unpack(names))) do
    if value then
      flat[#flat + 1] = names[place]
      flat[#flat + 1] = value
    end
  end
  return flat
end

-- Writes any number of fields, each name followed by its value. A call takes some thousands at most.
local function write(flat)
  for first = 1, #flat, 4000 do
    redis.call('HSET', session, unpack(flat, first, math.min(first + 3999, #flat)))
  end
end
