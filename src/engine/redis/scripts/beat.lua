-- Renews a node's lease in one partition, or takes it, and tells what there is to do.
--
-- KEYS   1 leases, 2 due, 3 the server process asked last, 4 the node's channel, 5 clock
-- ARGV   1 node, 2 the time in microseconds (empty: the server's), 3 for how many
--        microseconds, 4 whether the node is new and may take one (1 or 0), 5 the server
--        process that is asked, by its run_id, 6 for how many microseconds the node's name
--        before this one is spared (0: not), 7 that name, 8 for how many microseconds
--        somebody wants to know who comes and goes (0: nobody does), 9 for how many
--        microseconds nodes are waited for whose lease is over, 10 the highest clock that
--        the node was told
-- Effect the lease; none when it is over, which a node must begin anew for. Where another
--        process answers than before, nobody gets one until all that had one have said
--        what they were told: if that is more than there is, an era begins, and the
--        sessions of the one before are no more. So it does if a node says more later,
--        which had no lease yet where this process begins. The clock goes on from the
--        era's number: what was told in another is less.
--        The node is sent a message of no bytes, by which it knows that it hears
-- Cost   some five commands
-- Reply  {"OK", until when, when the first window is over (0: none is open), the era, whether
--        it began now (1 or 0), nodes that are dead...}, {"FENCED"} or {"WAIT"}
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
-- Whether this node was told what isn't there.
local function is_behind()
  return tonumber(ARGV[10]) > tonumber(call('GET', KEYS[5]) or 0)
end

-- Whether everybody who had a lease has said what it was told, and whether all of that is
-- there.
local function heard_all()
  if call('HGET', KEYS[3], 'next') ~= ARGV[5] then
    local process = call('HGET', KEYS[3], 'process')
    call('DEL', KEYS[3])
    call('HSET', KEYS[3], 'process', process, 'next', ARGV[5], 'is_behind', 0)
  end
  if is_behind() then call('HSET', KEYS[3], 'is_behind', 1) end
  call('HSET', KEYS[3], string.match(node, '^[^:]*') .. ':', 1)
  local is_sound = call('HGET', KEYS[3], 'is_behind') == '0'
  local leases = call('ZRANGEBYSCORE', KEYS[1], '(0', '+inf', 'WITHSCORES')
  for at = 1, #leases, 2 do
    if call('HEXISTS', KEYS[3], string.match(leases[at], '^[^:]*') .. ':') == 0 then
      if tonumber(leases[at + 1]) > now then return false end
      -- It won't say any more.
      is_sound = false
    end
  end
  return true, is_sound
end

local began = 0
local function begin_era()
  local found = call('ZMSCORE', KEYS[1], 'era', 'epoch')
  local era = math.max(now, 1 - tonumber(found[1] or 0), 1 - tonumber(found[2] or 0))
  call('ZADD', KEYS[1], int(-era), 'era', int(-era), 'epoch')
  call('SET', KEYS[5], int(era))
  began = 1
end

if ARGV[4] == '1' then
  local process = call('HGET', KEYS[3], 'process')
  if process ~= ARGV[5] then
    local are_all, is_sound = true, false
    if process then are_all, is_sound = heard_all() end
    if not are_all then return {'WAIT'} end
    if not is_sound then begin_era() end
    call('DEL', KEYS[3])
    call('HSET', KEYS[3], 'process', ARGV[5])
  elseif is_behind() then
    begin_era()
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
local era = -tonumber(call('ZSCORE', KEYS[1], 'era') or 0)
return {'OK', till, due[2] and int(due[2]) or '0', int(era), began, unpack(dead)}
