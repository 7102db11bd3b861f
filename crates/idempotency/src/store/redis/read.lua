-- KEYS[1] a record. Its value, the moment at which it ceases to be, and the present moment, all by this server's clock
-- and at one instant. Reads only.
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {redis.call('get', KEYS[1]), redis.call('pexpiretime', KEYS[1]), now}
