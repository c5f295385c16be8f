-- Renews a node's lease in one partition, or takes it, and tells what there is to do.
--
-- KEYS   1 leases, 2 due, 3 the server process asked last, 4 the node's channel
-- ARGV   1 node, 2 the time in microseconds (empty: the server's), 3 for how many
--        microseconds, 4 whether the node is new and may take one (1 or 0), 5 the server
--        process that is asked, by its run_id, 6 for how many microseconds the node's name
--        before this one is spared (0: not), 7 that name, 8 for how many microseconds
--        somebody wants to know who comes and goes (0: nobody does), 9 for how many
--        microseconds nodes are waited for whose lease is over
-- Effect the lease; none when it is over, which a node must begin anew for. A new process is
--        noted: sessions go on in new lives, because it may not know all that was told.
--        The node is sent a message of no bytes, by which it knows that it hears
-- Cost   some five commands
-- Reply  {"OK", until when, when the first window is over (0: none is open), nodes that are
--        dead...} or {"FENCED"}
local node, now = ARGV[1], tonumber(ARGV[2])
local call = redis.call
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function int(number)
  return string.format('%.0f', number)
end
local till = call('ZSCORE', KEYS[1], node)
if ARGV[4] == '1' then
  if call('GET', KEYS[3]) ~= ARGV[5] then
    local found = call('ZMSCORE', KEYS[1], 'era', 'epoch')
    local era = math.max(now, 1 - tonumber(found[1] or 0), 1 - tonumber(found[2] or 0))
    call('ZADD', KEYS[1], int(-era), 'era', int(-era), 'epoch')
    call('SET', KEYS[3], ARGV[5])
  end
  if ARGV[7] ~= '' then call('ZADD', KEYS[1], int(now + tonumber(ARGV[6])), ARGV[7]) end
elseif not (till and tonumber(till) > now) then
  return {'FENCED'}
end
till = int(now + tonumber(ARGV[3]))
call('ZADD', KEYS[1], till, node)
if tonumber(ARGV[8]) > 0 then call('ZADD', KEYS[1], int(-now - tonumber(ARGV[8])), 'watch') end
call('SPUBLISH', KEYS[4], '')
local due = call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local dead = call('ZRANGEBYSCORE', KEYS[1], '(0', int(now - tonumber(ARGV[9])), 'LIMIT', 0, 16)
return {'OK', till, due[2] and int(due[2]) or '0', unpack(dead)}
