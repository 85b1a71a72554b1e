-- What every script begins with: what time it is, in ms. ARGV[1] says so in tests, and is empty in production.

local function time()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local parts = redis.call('TIME')
  return parts[1] * 1000 + math.floor(parts[2] / 1000)
end

local now = time()
