-- KEYS[1] a record. ARGV: the owner's token, the mark of this write, the new phase, the new span (8 bytes), the same
-- in ms, the answer. What nearly every report is, in one round trip: the owner of a pending claim stores its answer.
-- Everything else (a late finisher, a login that has ended) changes nothing here and is read and decided.
-- A repeat of the very same write finds its own mark.
local value = redis.call('get', KEYS[1])
if not value or string.byte(value, 1) ~= 1 or string.sub(value, 2, 17) ~= ARGV[1] then
    return 0
end
if string.sub(value, 18, 25) == ARGV[2] then
    return 1
end
local flags = string.byte(value, 27)
if string.byte(value, 26) ~= 0 or flags % 2 ~= 0 then
    return 0
end
redis.call('set', KEYS[1], string.sub(value, 1, 17) .. ARGV[2] .. ARGV[3] .. string.char(flags) .. ARGV[4]
    .. string.rep('\0', 8) .. string.sub(value, 44) .. ARGV[6], 'px', ARGV[5])
return 1
