-- ARGV  5, 6 the etag and the incarnation to expect, empty for any
local before = known()
if before then return before end
local found, wrong = find()
if not found then return wrong end
wrong = unexpected(found, ARGV[5], ARGV[6])
if wrong then return wrong end
bury('ended', found.etag)
return remember({'ok', now})
