-- Lets a stream into a session, anew or by a resume.
--
-- KEYS   10 outcomes of the connection that is to be resumed, else of the new one
-- ARGV   6 the epoch if the session begins with it (empty: a new one), 7 the new connection, 8 the hash of
--        its token, 9 role, 10 data, 11 window in microseconds, 12 and 13 whether it is
--        spared comings and goings, and its own signals (1 or 0), 14 the most bytes of
--        data, 15 the most connections (0: no limit), 16 the connection to resume
--        (empty: none), 17 the hash of its token, 18 epoch, 19 newest sequence and
--        20 newest outcome that its client has, 21... the types it wants
-- Effect the connection joins, or is resumed: an older stream of it is released
-- Cost   some ten commands, and one for each thousand connections of the snapshot
local is_resume = ARGV[16] ~= ''
local hot, cold
if is_resume then hot, cold = load('h' .. ARGV[16], 'i' .. ARGV[16]) else load() end
tick()

local types = #ARGV > 20 and {unpack(ARGV, 21)} or false
local window, no_events, no_own = tonumber(ARGV[11]), ARGV[12] == '1', ARGV[13] == '1'

local function snapshot(me)
  local connections = no_events and {me} or call('ZRANGE', ORDER, 0, -1)
  local hots, colds = read_all(connections)
  local all = {}
  for at, connection in ipairs(connections) do all[at] = view(connection, hots[at], colds[at]) end
  return all
end

local H, C = read_hot(hot), read_cold(cold)
if H and H.till > 0 and H.till <= now then H = nil end
if H and C.token == ARGV[17] then
  local me = ARGV[16]
  local since = math.max(tonumber(ARGV[19]), C.joined)
  local missing = S.sequence - since
  local missed = false
  if tonumber(ARGV[18]) == S.epoch and missing >= 0 and call('XLEN', LOG) >= missing
    and (log_events == 0 or missing <= log_events) then
    missed = {}
    if missing > 0 then
      for at, entry in ipairs(call('XRANGE', LOG, int(since + 1) .. '-0', '+')) do
        missed[at] = entry[2][2]
      end
    end
  end
  local before = {generation = H.generation, node = H.node, till = H.till}
  S.filtering = S.filtering - (H.types and 1 or 0) + (types and 1 or 0)
  H.generation, H.till, H.window, H.types, H.no_events, H.no_own = H.generation + 1, 0, window, types, no_events, no_own
  if before.till == 0 then
    effect('release', me, before.generation, 'taken-over', 1)
    tell(before.node, 'taken', me, before.generation)
    count_stream(before.node, -1)
  else
    call('ZREM', WINDOWS, window_member(me, C))
    schedule()
    call('PERSIST', KEYS[10])
    append(64, 'back', pack(me))
  end
  H.node = node
  count_stream(node, 1)
  write_hot(me, H)
  effect('attach', me, H.generation)
  local restated = {}
  for at, kept in ipairs(call('XRANGE', KEYS[10], '(' .. ARGV[20] .. '-0', '+')) do
    restated[at] = {string.match(kept[1], '^%d+'), kept[2][2]}
  end
  local own = view(me, H, C)
  if missed then
    return finish('resumed', own, H.generation, S.epoch, since, H.last, restated, {}, missed)
  end
  return finish('gap', own, H.generation, S.epoch, S.sequence, H.last, restated, snapshot(me), {})
end

local most_data, most = tonumber(ARGV[14]), tonumber(ARGV[15])
if most_data > 0 and #ARGV[10] > most_data then return finish('too-large') end
if most > 0 and S.members >= most then return finish('full', S.members) end
local me = ARGV[7]
if S.members == 0 then
  local epoch = tonumber(ARGV[6])
  if not epoch then
    epoch = math.max(now, era, 1 - tonumber(call('ZSCORE', LEASES, 'epoch') or 0))
    call('ZADD', LEASES, int(-epoch), 'epoch')
  end
  S = {epoch = epoch, sequence = 0, created = now, members = 0, filtering = 0, bytes = 0, first = 0,
    nodes = S.nodes}
  call('ZADD', INDEX, 0, name)
  effect('started')
  change(pack('started', S.epoch, 0, now))
end
append(96 + #ARGV[10], 'new', pack(me, now, ARGV[9], ARGV[10]))
C = {joined = S.sequence, token = ARGV[8], created = now, role = ARGV[9], data = ARGV[10]}
H = {generation = 1, node = node, till = 0, last = string.rep('0', 20), arrival = 0, window = window, types = types,
  no_events = no_events, no_own = no_own, why = 'network'}
S.members = S.members + 1
if types then S.filtering = S.filtering + 1 end
count_stream(node, 1)
call('ZADD', ORDER, int(C.joined), me)
call('HSET', SESSION, 'i' .. me, cmsgpack.pack(C.joined, C.token, C.created, C.role, C.data))
write_hot(me, H)
effect('attach', me, 1)
return finish('new', view(me, H, C), 1, S.epoch, S.sequence, H.last, {}, snapshot(me), {})
