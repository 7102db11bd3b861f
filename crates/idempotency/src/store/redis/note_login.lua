-- KEYS[1] the records of a login. ARGV: a record's key, for how many ms it may be needed. Written before the record is,
-- so that every record of a login is found when the login ends. A repeat changes nothing.
redis.call('sadd', KEYS[1], ARGV[1])
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[2]) then
    redis.call('pexpire', KEYS[1], ARGV[2])
end
return 1
