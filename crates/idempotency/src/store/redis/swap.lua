-- KEYS[1] a record. ARGV: the head of the value that was seen, the new value (empty: none), its time to live in ms.
-- Compare and set: writes only where the record is still the one that was seen. A repeat of the very same write finds
-- the head that it wrote itself and says so again; the removal's repeat finds nothing and changes nothing.
local head = redis.call('getrange', KEYS[1], 0, 24)
if ARGV[2] ~= '' and head == string.sub(ARGV[2], 1, 25) then
    return 1
end
if head ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('del', KEYS[1])
else
    redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
end
return 1
