-- ARGV  5, 6 the etag and the incarnation to expect, empty for any; then each mutation: what it does ("set", "delete",
--       "increment", "append"), its key, its conditions ("+" the key is there, "-" it is not, "=" it has the text that
--       follows), and what it needs: a text; nothing; an amount; an item, most items and most bytes
local before = known()
if before then return before end
local found, wrong = find()
if not found then return wrong end
wrong = unexpected(found, ARGV[5], ARGV[6])
if wrong then return wrong end

local SEPARATOR = '\30'

-- The size in bytes of a stored value as JSON; a list takes two brackets, and one separator less than it has.
local function size(stored)
  if string.byte(stored) == 30 then return #stored + 1 end
  return #stored
end

local function to_json(stored)
  if string.byte(stored) ~= 30 then return stored end
  return '[' .. string.gsub(string.sub(stored, 2), SEPARATOR, ',') .. ']'
end

-- The items of a JSON array, each after a separator, as they were written; nil when the text is no array.
local function items_of(text)
  local first, last = string.find(text, '^%s*%['), string.find(text, '%]%s*$')
  if not first then return nil end
  local place = string.find(text, '%[') + 1
  local start, depth, items = place, 0, {}
  local function add(stop)
    local item = string.match(string.sub(text, start, stop), '^%s*(.-)%s*$')
    if item ~= '' then items[#items + 1] = SEPARATOR .. item end
  end
  while true do
    place = string.find(text, '["%[%]{},]', place)
    if place >= last then break end
    local byte = string.sub(text, place, place)
    if byte == '"' then
      local back
      repeat -- an even number of backslashes before a quote leaves it a quote
        place = string.find(text, '"', place + 1, true)
        back = place - 1
        while string.byte(text, back) == 92 do back = back - 1 end
      until (place - 1 - back) % 2 == 0
    elseif byte == '[' or byte == '{' then
      depth = depth + 1
    elseif byte == ']' or byte == '}' then
      depth = depth - 1
    elseif depth == 0 then
      add(place - 1)
      start = place + 1
    end
    place = place + 1
  end
  add(last - 1)
  return table.concat(items)
end

local function append(stored, item, most_items, most_bytes)
  stored = stored .. SEPARATOR .. item
  if most_items > 0 then
    local _, count = string.gsub(stored, SEPARATOR, '')
    local place = 1
    for _ = 1, count - most_items do
      place = string.find(stored, SEPARATOR, place + 1, true)
    end
    stored = string.sub(stored, place)
  end
  if most_bytes > 0 and size(stored) > most_bytes then
    -- The first item from which on it fits; the newest is kept, whatever its size.
    local place = string.find(stored, SEPARATOR, #stored + 2 - most_bytes, true)
    stored = place and string.sub(stored, place) or SEPARATOR .. item
  end
  return stored
end

-- The sum as text, or nil and the word for why there is none. Lua's numbers are exact up to 2^53; beyond, Redis adds.
local function add(text, amount)
  local digits = string.match(text, '^%s*(%-?%d+)%s*$')
  if not digits then return nil, 'wrong_type' end
  if digits == '-0' then digits = '0' end
  local a, b = tonumber(digits), tonumber(amount)
  if math.abs(a) < 4503599627370496 and math.abs(b) < 4503599627370496 then
    return string.format('%.0f', a + b)
  end
  redis.call('HSET', session, '_sum', digits)
  local done = redis.pcall('HINCRBY', session, '_sum', amount)
  local sum = redis.call('HGET', session, '_sum')
  redis.call('HDEL', session, '_sum')
  if type(done) == 'table' and done.err then
    return nil, string.find(done.err, 'overflow') and 'overflow' or 'wrong_type'
  end
  return sum
end

-- What the values would be: text by key, false for one that is gone
local draft, touched, growth, new_keys, sums = {}, {}, 0, 0, {}

local place, number = 7, 0
local function argument()
  place = place + 1
  return ARGV[place - 1]
end

while place <= #ARGV do
  local what, key, conditions = argument(), argument(), argument()
  local stored = draft[key]
  if stored == nil then
    stored = redis.call('HGET', session, 'v:' .. key)
    touched[#touched + 1] = key
  end
  if conditions ~= '' then
    local equal = true
    if string.find(conditions, '=', 1, true) then
      local text = argument()
      equal = stored and to_json(stored) == text
    end
    if not equal or (string.find(conditions, '+', 1, true) and not stored)
      or (string.find(conditions, '-', 1, true) and stored) then
      return {'conflict', 'precondition', found.etag, key, number}
    end
  end
  local after = false
  if what == 'set' then
    after = argument()
  elseif what == 'increment' then
    local sum, why = add(stored or '0', argument())
    if not sum then return {why, key, 'an integer of 64 bits'} end
    after, sums[key] = sum, sum
  elseif what == 'append' then
    local list = stored or ''
    if stored and string.byte(stored) ~= 30 then list = items_of(stored) end
    if not list then return {'wrong_type', key, 'a list'} end
    after = append(list, argument(), tonumber(argument()), tonumber(argument()))
    if size(after) > VALUE_BYTES then return {'list_too_large', number} end
  end
  if after then growth = growth + size(after) end
  if stored then growth = growth - size(stored) end
  if after and not stored then
    growth, new_keys = growth + #key, new_keys + 1
  elseif stored and not after then
    growth, new_keys = growth - #key, new_keys - 1
  end
  draft[key] = after
  number = number + 1
end

if growth > 0 and found.size + growth > SESSION_BYTES then return {'session_too_large'} end
if new_keys > 0 and redis.call('HLEN', session) - OWN_FIELDS + new_keys > MOST_KEYS then return {'too_many_keys'} end

local deadline = slide(found)
local flat = {'_d', deadline, '_v', found.version + 1, '_u', now}
if growth ~= 0 then
  flat[7], flat[8] = '_n', found.size + growth
end
for _, key in ipairs(touched) do
  if draft[key] then
    flat[#flat + 1] = 'v:' .. key
    flat[#flat + 1] = draft[key]
  end
end
write(flat)
for _, key in ipairs(touched) do
  if not draft[key] then redis.call('HDEL', session, 'v:' .. key) end
end
announce('updated', found.incarnation .. '-' .. (found.version + 1), nil, touched)
local reply = {'ok', found.incarnation, found.version + 1, deadline, now}
for key, sum in pairs(sums) do
  reply[#reply + 1] = key
  reply[#reply + 1] = sum
end
return remember(reply)
