-- What every script on a session begins with; it is put before each of them.
--
-- KEYS, all with the tag of the session's partition, so that they are in one slot:
--   1 leases   ZSET    node -> until when it is one, in microseconds; and, below 0, so that
--                      none is taken for a node: `era`, since when nothing that was told is
--                      lost; `epoch`, the newest given; `watch`, until when somebody wants to
--                      know who comes and goes
--   2 clock    STRING  how many scripts brought something about: each that is told of what one
--                      did is told of it, too
--   3 session  HASH    `s`, what the session is, see `read`; of each connection `h` and `i`,
--                      hot and cold; of each node with streams `n`, how many
--   4 log      STREAM  the newest events, id `sequence-0`, field `v`
--   More are with what they are for: members.lua, views.lua, or the script itself.
-- ARGV:
--   1 node, 2 the time in microseconds (empty: the server's), 3 session,
--   4 and 5 how many events and bytes the log keeps (0: no limit)
--
-- A connection's name is its 16 bytes. Ids of sends are 20 decimal digits, which
-- compare as they count: they may be over 2^53, which is what Lua's numbers hold.
--
-- Most of what a script costs is Lua's own: numbers are written by `%d`, which is three
-- times as fast as `%.0f`, and given to `call` as texts; texts are packed by one call of
-- `struct`; a script is given no function that it doesn't need.
--
-- Replies {"FENCED"} and does nothing unless the node's lease is valid.
local LEASES, CLOCK, SESSION, LOG = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local node, now, name = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local log_events, log_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local call, format = redis.call, string.format

if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local era, watched_until
do
  local found = call('ZMSCORE', LEASES, node, 'era', 'watch')
  if not found[1] or tonumber(found[1]) <= now then return {'FENCED'} end
  era, watched_until = -(found[2] or 0), -(found[3] or 0)
end

-- An integer as text, below 2^53.
local function int(number)
  return format('%d', number)
end

-- Several texts as one, each with its length before it. Lua takes some thousand values at
-- once.
local function pack_all(texts)
  local packed = {}
  for from = 1, #texts, 1000 do
    local parts, count = {}, math.min(#texts - from + 1, 1000)
    for at = 1, count do
      local text = texts[from + at - 1]
      if type(text) == 'number' then text = format('%d', text) end
      parts[2 * at - 1], parts[2 * at] = #text, text
    end
    packed[#packed + 1] = struct.pack('>' .. string.rep('I4c0', count), unpack(parts))
  end
  return table.concat(packed)
end

local function pack(...)
  return pack_all({...})
end

-- The session, as `read` has it. `members` is 0 when it isn't there.
local S
-- What comes of the script, and fields to be written with what the session is.
local effects, pushed, changes, fields = {}, {}, {}, {}

-- What the session is is one field, because each costs as much as all of it: eight bytes
-- each of epoch, newest sequence, when it began, how many bytes of events it had, how many
-- of these were before the oldest kept, how many members, and how many of these filter;
-- then the nodes with streams of it, each with a line feed. Those who read the log read
-- the first two. Returns the session if it is no more because of what was lost, else
-- false; then more of its fields.
local function read(...)
  local found = call('HMGET', SESSION, 's', ...)
  effects, pushed, changes, fields = {}, {}, {}, {}
  S = {epoch = 0, sequence = 0, created = 0, bytes = 0, first = 0, members = 0, filtering = 0, nodes = ''}
  if found[1] then
    local at
    S.epoch, S.sequence, S.created, S.bytes, S.first, S.members, S.filtering, at =
      struct.unpack('>I8I8I8I8I8I8I8', found[1])
    S.nodes = string.sub(found[1], at)
  end
  if S.members == 0 or S.epoch >= era then return false, unpack(found, 2, 1 + select('#', ...)) end
  -- Some of what was told of it is lost: it is no more.
  local over = S
  S = {epoch = 0, sequence = 0, created = 0, bytes = 0, first = 0, members = 0, filtering = 0, nodes = ''}
  return over
end

-- What the clock is when this script is done.
local ticked
local function ticks()
  ticked = ticked or call('INCR', CLOCK)
  return ticked
end

local function publish(channel, message)
  call('SPUBLISH', string.sub(LEASES, 1, -7) .. channel, message)
end

-- Keeps what the session is now, and tells what happened. The events go to the other nodes
-- that have members of it.
local function conclude()
  if S.members > 0 then
    call('HSET', SESSION, 's', struct.pack('>I8I8I8I8I8I8I8', S.epoch, S.sequence, S.created, S.bytes, S.first, S.members,
      S.filtering) .. S.nodes, unpack(fields))
  end
  if #pushed > 0 then
    local message
    for other in string.gmatch(S.nodes, '[^\n]+') do
      if other ~= node then
        message = message or pack(name, ticks(), S.epoch, S.sequence) .. pack_all(pushed)
        publish('node:' .. other, message)
      end
    end
  end
  if #changes > 0 then publish('watch', pack(name, ticks()) .. pack_all(changes)) end
end

-- Something for the node to do, once it has delivered what came before: after the
-- event in the place that comes first.
local function effect(...)
  effects[#effects + 1] = {S.sequence, ...}
end

-- Something for those who want to know who comes and goes.
local function change(packed)
  if watched_until > now then changes[#changes + 1] = packed end
end

-- What is told of the clock: what was found out may be of other scripts.
local function clock(has_effects)
  return has_effects and ticks() or tonumber(call('GET', CLOCK) or 0)
end

-- What the script found out, with what it brought about.
local function finish(...)
  conclude()
  return {'OK', S.epoch, clock(#effects > 0), effects, ...}
end

-- Forgets the oldest events until the log keeps so many bytes. It knows how many
-- bytes there were before its oldest, as of when it last looked.
local function shrink()
  local count = 2
  while S.bytes - S.first > log_bytes do
    local oldest = call('XRANGE', LOG, '-', '+', 'COUNT', int(count))
    for _, entry in ipairs(oldest) do
      S.first = struct.unpack('>I8', entry[2][2])
      if S.bytes - S.first <= log_bytes then
        call('XTRIM', LOG, 'MINID', entry[1])
        return
      end
    end
    -- None of these may stay.
    if #oldest < count then S.first = S.bytes end
    if #oldest > 0 then
      call('XTRIM', LOG, 'MINID', int(string.match(oldest[#oldest][1], '^%d+') + 1))
    end
    count = math.min(2 * count, 32)
  end
end

-- Gives an event the next place. `size` is about how many bytes it takes; the record is
-- eight bytes each of how many bytes came before it, and when, then the kind and what it
-- is of, packed. The log keeps at least as many events as it is to: more where forgetting
-- some of a block is dear.
local function append(size, kind, of)
  S.sequence = S.sequence + 1
  local record = struct.pack('>I8I8I4c0', S.bytes, now, #kind, kind) .. of
  S.bytes = S.bytes + size
  if log_events > 0 then
    call('XADD', LOG, 'MAXLEN', '~', ARGV[4], int(S.sequence), 'v', record)
  else
    call('XADD', LOG, int(S.sequence), 'v', record)
  end
  if log_bytes > 0 and S.bytes - S.first > log_bytes then shrink() end
  effect('entry', record)
  pushed[#pushed + 1] = record
  if kind == 'new' or kind == 'gone' then change(pack(kind, S.epoch, S.sequence) .. of) end
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

local function packed_hot(H)
  return cmsgpack.pack(H.generation, H.node, H.till, H.last, H.arrival, H.window, H.types, H.no_events, H.no_own, H.why)
end

local function read_cold(text)
  if not text then return nil end
  local C = {}
  C.joined, C.token, C.created, C.role, C.data = cmsgpack.unpack(text)
  return C
end

-- The member on whose newest stream this is.
local function attached(H, generation)
  return H and H.till == 0 and H.generation == generation
end

-- Those named who are there, sorted, and the names of those who aren't. A name is
-- `I` and a connection's bytes, or `O` and a text that can't be one.
local function resolve(names)
  local asked, connections = {}, {}
  for _, named in ipairs(names) do
    if string.sub(named, 1, 1) == 'I' then
      connections[#connections + 1] = string.sub(named, 2)
      asked[#asked + 1] = 'h' .. string.sub(named, 2)
    end
  end
  local there, hots, absent = {}, {}, {}
  local found = #asked > 0 and S.members > 0 and call('HMGET', SESSION, unpack(asked)) or {}
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
