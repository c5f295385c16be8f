-- Renews a node's lease in one partition, or takes it.
--
-- KEYS   1 leases
-- ARGV   1 node, 2 the time in microseconds (empty: the server's), 3 for how many
--        microseconds, 4 whether the node is new and may take one (1 or 0)
-- Effect the lease; none when it is over, which a node must begin anew for
-- Cost   two commands
-- Reply  {"OK", until when} or {"FENCED"}
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local till = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[4] ~= '1' and not (till and tonumber(till) > now) then return {'FENCED'} end
till = string.format('%.0f', now + tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], till, ARGV[1])
return {'OK', till}
