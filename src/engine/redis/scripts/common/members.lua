-- For scripts by which members come and go; it is put after session.lua.
--
-- KEYS   5 order    ZSET  connection -> place of its joining
--        6 windows  ZSET  place and connection -> until when it is waited for
--        7 due      ZSET  session -> the first of its windows' ends
--        8 index    ZSET  the sessions there are, all with score 0
--        9 streams  ZSET  node, line feed, session: where nodes have streams, all with
--                         score 0
local ORDER, WINDOWS, DUE, INDEX, STREAMS = unpack(KEYS, 5, 9)

-- The session, and more of its fields. What is left of one that is no more is removed.
local function load(...)
  local found = {read(...)}
  local over = found[1]
  if over then
    call('DEL', SESSION, ORDER, LOG, WINDOWS)
    call('ZREM', DUE, name)
    call('ZREM', INDEX, name)
    for at in string.gmatch(over.nodes, '[^\n]+') do call('ZREM', STREAMS, at .. '\n' .. name) end
    change(pack('ended', over.epoch, over.sequence))
  end
  return unpack(found, 2, 1 + select('#', ...))
end

local function write_hot(connection, H)
  call('HSET', SESSION, 'h' .. connection, packed_hot(H))
end

-- Tells another node what becomes of a stream that it has.
local function tell(at, what, connection, generation)
  if at ~= node then publish('node:' .. at, pack(name, ticks(), S.epoch, 0, what, connection, generation)) end
end

local function window_member(connection, C)
  return format('%016d', C.joined) .. connection
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
  append(64, 'gone', pack(connection, reason))
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
    change(pack('ended', S.epoch, S.sequence))
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
  for _, member in ipairs(call('ZRANGEBYSCORE', WINDOWS, '-inf', int(now))) do
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
  append(64, 'cut', pack(connection))
end
