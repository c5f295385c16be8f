-- What every script begins with; it is put before each of them.
--
-- KEYS, all with the tag of the session's partition, so that they are in one slot:
--   1 leases   ZSET    node -> until when it is one, in microseconds; and, below 0, so that
--                      none is taken for a node: `era`, since when nothing that was told is
--                      lost; `epoch`, the newest given; `clock`, how many scripts brought
--                      something about; `watch`, until when somebody wants to know who
--                      comes and goes
--   2 session  HASH    the session: see `load`; of each connection `h` and `i`, hot and
--                      cold; of each node with streams `n`, how many
--   3 order    ZSET    connection -> place of its joining
--   4 log      STREAM  the newest events, id `sequence-0`, field `v`
--   5 windows  ZSET    place and connection -> until when it is waited for
--   6 due      ZSET    session -> the first of its windows' ends
--   7 index    ZSET    the sessions there are, all with score 0
--   8 streams  ZSET    node, line feed, session: where nodes have streams, all with score 0
-- ARGV:
--   1 node, 2 the time in microseconds (empty: the server's), 3 session,
--   4 and 5 how many events and bytes the log keeps (0: no limit)
--
-- A connection's name is its 16 bytes. Ids of sends are 20 decimal digits, which
-- compare as they count: they may be over 2^53, which is what Lua's numbers hold.
--
-- Replies {"FENCED"} and does nothing unless the node's lease is valid.
local LEASES, SESSION, ORDER, LOG, WINDOWS, DUE, INDEX, STREAMS = unpack(KEYS, 1, 8)
local node, now, name = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local log_events, log_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local call = redis.call

if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local era, watched_until
do
  local found = call('ZMSCORE', LEASES, node, 'era', 'watch')
  if not found[1] or tonumber(found[1]) <= now then return {'FENCED'} end
  era, watched_until = -tonumber(found[2] or 0), -tonumber(found[3] or 0)
end

-- An integer as text: Lua writes large ones with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

-- Several texts as one, each with its length before it.
local function pack(...)
  local parts = {}
  for at = 1, select('#', ...) do
    local text = select(at, ...)
    if type(text) == 'number' then text = int(text) end
    parts[at] = struct.pack('>I4', #text) .. text
  end
  return table.concat(parts)
end

-- The session, as `read` has it. `members` is 0 when it isn't there.
local S
local effects, pushed, changes = {}, {}, {}

local function read(...)
  local found = call('HMGET', SESSION, 'epoch', 'sequence', 'created', 'members', 'filtering', 'bytes', 'first', 'nodes', ...)
  S = {
    epoch = tonumber(found[1] or 0), sequence = tonumber(found[2] or 0), created = tonumber(found[3] or 0),
    members = tonumber(found[4] or 0), filtering = tonumber(found[5] or 0), bytes = tonumber(found[6] or 0),
    first = tonumber(found[7] or 0), nodes = found[8] or '',
  }
  if S.members == 0 or S.epoch >= era then return false, unpack(found, 9) end
  -- Some of what was told of it is lost: it is no more.
  local over = S
  S = {epoch = 0, sequence = 0, created = 0, members = 0, filtering = 0, bytes = 0, first = 0, nodes = ''}
  return over
end

local function save()
  if S.members > 0 then
    call('HSET', SESSION, 'epoch', int(S.epoch), 'sequence', int(S.sequence), 'created', int(S.created),
      'members', S.members, 'filtering', S.filtering, 'bytes', int(S.bytes), 'first', int(S.first), 'nodes', S.nodes)
  end
end

-- Something for the node to do, once it has delivered what came before: after the
-- event in the place that comes first.
local function effect(...)
  effects[#effects + 1] = {int(S.sequence), ...}
end

local function publish(channel, ...)
  call('SPUBLISH', string.sub(LEASES, 1, -7) .. channel, pack(...))
end

-- Something for those who want to know who comes and goes.
local function change(...)
  if watched_until > now then changes[#changes + 1] = pack(...) end
end

-- The session, and more of its fields. What is left of one that is no more is removed.
local function load(...)
  local found = {read(...)}
  local over = found[1]
  if over then
    call('DEL', SESSION, ORDER, LOG, WINDOWS)
    call('ZREM', DUE, name)
    call('ZREM', INDEX, name)
    for at in string.gmatch(over.nodes, '[^\n]+') do call('ZREM', STREAMS, at .. '\n' .. name) end
    change('ended', over.epoch, over.sequence)
  end
  return unpack(found, 2, 1 + select('#', ...))
end

-- What the script found out, with what it brought about. The events go to the other
-- nodes that have members of the session.
local function finish(...)
  save()
  if #pushed > 0 then
    for other in string.gmatch(S.nodes, '[^\n]+') do
      if other ~= node then publish('node:' .. other, name, S.epoch, S.sequence, unpack(pushed)) end
    end
  end
  if #changes > 0 then publish('watch', name, unpack(changes)) end
  local clock = #effects > 0 and -call('ZINCRBY', LEASES, -1, 'clock') or 0
  return {'OK', int(S.epoch), int(clock), effects, ...}
end

-- Forgets the oldest events until the log keeps so many bytes. It knows how many
-- bytes there were before its oldest, as of when it last looked.
local function shrink()
  while log_bytes > 0 and S.bytes - S.first > log_bytes do
    local oldest = call('XRANGE', LOG, '-', '+', 'COUNT', 32)
    for _, entry in ipairs(oldest) do
      S.first = tonumber(string.match(entry[2][2], '^....(%d+)'))
      if S.bytes - S.first <= log_bytes then
        call('XTRIM', LOG, 'MINID', entry[1])
        return
      end
    end
    -- None of these may stay.
    if #oldest < 32 then S.first = S.bytes end
    if #oldest > 0 then
      call('XTRIM', LOG, 'MINID', int(string.match(oldest[#oldest][1], '^%d+') + 1) .. '-0')
    end
  end
end

-- Gives an event the next place. `size` is about how many bytes it takes.
local function append(size, kind, ...)
  S.sequence = S.sequence + 1
  local record = pack(int(S.bytes), now, kind, ...)
  S.bytes = S.bytes + size
  if log_events > 0 then
    call('XADD', LOG, 'MAXLEN', log_events, int(S.sequence) .. '-0', 'v', record)
  else
    call('XADD', LOG, int(S.sequence) .. '-0', 'v', record)
  end
  shrink()
  effect('entry', record)
  pushed[#pushed + 1] = record
  if kind == 'new' or kind == 'gone' then change(kind, S.epoch, S.sequence, ...) end
end

-- What a connection has: hot, what changes with what it does; cold, what doesn't.
--   hot   generation, node ('' without a stream), until (0 with one), the newest send
--         decided, the bucket's arrival in nanoseconds since the session began, the
--         window in microseconds, the types it wants (false: all), whether it is
--         spared comings and goings, and its own signals, why it is gone if its window
--         ends
--   cold  place of joining, hash of the token, created, role, data
local function read_hot(text)
  if not text then return nil end
  local H = {}
  H.generation, H.node, H.till, H.last, H.arrival, H.window, H.types, H.no_events, H.no_own, H.why = cmsgpack.unpack(text)
  return H
end

local function write_hot(connection, H)
  call('HSET', SESSION, 'h' .. connection,
    cmsgpack.pack(H.generation, H.node, H.till, H.last, H.arrival, H.window, H.types, H.no_events, H.no_own, H.why))
end

local function read_cold(text)
  if not text then return nil end
  local C = {}
  C.joined, C.token, C.created, C.role, C.data = cmsgpack.unpack(text)
  return C
end

-- Tells another node what becomes of a stream that it has.
local function tell(at, what, connection, generation)
  if at ~= node then publish('node:' .. at, name, S.epoch, 0, what, connection, generation) end
end

-- The member on whose newest stream this is.
local function attached(H, generation)
  return H and H.till == 0 and H.generation == generation
end

local function window_member(connection, C)
  return string.format('%016.0f', C.joined) .. connection
end

-- The session's place among those with windows that end.
local function schedule()
  local first = call('ZRANGE', WINDOWS, 0, 0, 'WITHSCORES')
  if first[2] then call('ZADD', DUE, first[2], name) else call('ZREM', DUE, name) end
end

-- One stream more, or less, on a node: whether it gets what is pushed.
local function count_stream(at, by)
  local count = call('HINCRBY', SESSION, 'n' .. at, by)
  if by > 0 and count == 1 then
    S.nodes = S.nodes .. at .. '\n'
    call('ZADD', STREAMS, 0, at .. '\n' .. name)
  elseif count == 0 then
    call('HDEL', SESSION, 'n' .. at)
    call('ZREM', STREAMS, at .. '\n' .. name)
    local kept = {}
    for other in string.gmatch(S.nodes, '[^\n]+') do
      if other ~= at then kept[#kept + 1] = other .. '\n' end
    end
    S.nodes = table.concat(kept)
  end
end

-- Removes a connection for good. Its stream, if it has one, is the caller's to
-- release.
local function destroy(connection, H, C, reason)
  append(64, 'gone', connection, reason)
  call('HDEL', SESSION, 'h' .. connection, 'i' .. connection)
  call('ZREM', ORDER, connection)
  S.members = S.members - 1
  if H.types then S.filtering = S.filtering - 1 end
  if H.till > 0 then
    call('ZREM', WINDOWS, window_member(connection, C))
    schedule()
  end
  if S.members == 0 then
    call('DEL', SESSION, ORDER, LOG, WINDOWS)
    call('ZREM', DUE, name)
    call('ZREM', INDEX, name)
    effect('ended')
    change('ended', S.epoch, S.sequence)
  end
end

-- Somebody disconnects a connection. The release of its stream, if it has one, is the
-- caller's to say: it comes after the answer.
local function throw_out(connection, H, C, outcomes)
  if H.till == 0 then
    count_stream(H.node, -1)
    tell(H.node, 'thrown', connection, H.generation)
  end
  destroy(connection, H, C, 'forced')
  call('DEL', outcomes)
end

-- Ends the windows that are over.
local function tick()
  if S.members == 0 then return end
  for _, member in ipairs(call('ZRANGEBYSCORE', WINDOWS, '-inf', now)) do
    local connection = string.sub(member, 17)
    local found = call('HMGET', SESSION, 'h' .. connection, 'i' .. connection)
    local H = read_hot(found[1])
    destroy(connection, H, read_cold(found[2]), H.why)
  end
end

-- A stream is gone: its connection is waited for, for its window, or is destroyed when it
-- has none, or may not be waited for. `ending` is how the stream ended, `why` what is told
-- of the connection if it is gone, `since` when it is waited for.
local function lose(connection, H, C, outcomes, ending, may_wait, why, why_later, since)
  local resumable = H.window > 0 and may_wait
  effect('release', connection, H.generation, ending, resumable and 1 or 0)
  count_stream(H.node, -1)
  if not resumable then
    destroy(connection, H, C, why)
    call('DEL', outcomes)
    return
  end
  H.node, H.till, H.why = '', since + H.window, why_later
  write_hot(connection, H)
  call('ZADD', WINDOWS, int(H.till), window_member(connection, C))
  schedule()
  -- Who is never back leaves no outcomes behind.
  call('PEXPIRE', outcomes, math.floor(H.window / 1000) + 60000)
  append(64, 'cut', connection)
end

-- Hot and cold of many connections, in order; Lua takes some thousand values at once.
local function read_all(connections)
  local hots, colds = {}, {}
  for from = 1, #connections, 1000 do
    local fields = {}
    for at = from, math.min(from + 999, #connections) do
      fields[#fields + 1] = 'h' .. connections[at]
      fields[#fields + 1] = 'i' .. connections[at]
    end
    local found = call('HMGET', SESSION, unpack(fields))
    for at = 1, #found, 2 do
      hots[#hots + 1] = read_hot(found[at])
      colds[#colds + 1] = read_cold(found[at + 1])
    end
  end
  return hots, colds
end

-- A connection as others see it.
local function view(connection, H, C)
  return {connection, int(C.joined), int(C.created), C.role, C.data, H.till > 0 and 1 or 0, H.node, H.generation}
end

local function wants(H, kind)
  if not H.types then return true end
  for _, wanted in ipairs(H.types) do
    if wanted == kind then return true end
  end
  return false
end

-- Those named who are there, sorted, and the names of those who aren't. A name is
-- `I` and a connection's bytes, or `O` and a text that can't be one.
local function resolve(names)
  local fields, connections = {}, {}
  for _, named in ipairs(names) do
    if string.sub(named, 1, 1) == 'I' then
      connections[#connections + 1] = string.sub(named, 2)
      fields[#fields + 1] = 'h' .. string.sub(named, 2)
    end
  end
  local there, hots, absent = {}, {}, {}
  local found = #fields > 0 and S.members > 0 and call('HMGET', SESSION, unpack(fields)) or {}
  local at = 0
  for _, named in ipairs(names) do
    local is_there = false
    if string.sub(named, 1, 1) == 'I' then
      at = at + 1
      if found[at] then
        is_there = true
        there[#there + 1] = connections[at]
        hots[connections[at]] = found[at]
      end
    end
    if not is_there then absent[#absent + 1] = named end
  end
  table.sort(there)
  return there, absent, hots
end
