-- Does what connections ask for on their streams: signals, disconnects, a leave; of each
-- several in their order. Where there are signals alone, it is put after session.lua, and
-- serves many connections, of many sessions, at once; else it is put after members.lua and
-- leaving.lua, too, with the keys that these have, and serves one. Half of what it costs is
-- for the script, not for the sends in it.
--
-- KEYS   for each connection its session, its session's log and its outcomes; then
--        the outcomes of those to be disconnected
-- ARGV   6 signals a second, 7 and at once (0: no limit), 8 how many outcomes are kept, 9 the
--        number of the first such KEY, then for each connection
--          session, connection, generation, how many arguments follow, for each command
--            `S`, id, type, data, count of names (-1: everyone), names...
--            `R`, id, a refusal decided before
--            `K`, id, one that was told, too: it is kept, and told no more
--            `D`, id, name, number of its KEY
--            `L`
-- Effect events, outcomes, releases
-- Cost   ZMSCORE, INCR; for each connection HMGET, HSET; for each signal two XADD, and an
--        SPUBLISH for each other node with members, all signals in one
-- Reply  with nothing of its own but, for each connection, its session's epoch and the
--        effects; or the error that it met, alone
local NO_ID = '00000000000000000000'
local rate, burst, kept = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
-- The connection that is served: its outcomes, its name, and what it has.
local outcomes, me, H

-- How long until there is a token in the bucket, if there is none: the generic cell
-- rate algorithm, as in `session::bucket`.
local function limited()
  if rate == 0 or burst == 0 then return nil end
  local interval, at = math.floor(1e9 / rate), (now - S.created) * 1000
  local next, latest = math.max(H.arrival, at) + interval, at + interval * burst
  if next > latest then return next - latest end
  H.arrival = next
  return nil
end

local function signal(kind, data, names)
  local wait = limited()
  if wait then return pack('wait', wait) end
  local there, absent = {}, {}
  if names then
    there, absent = resolve(names)
    if #there == 0 then return pack('nobody', #names) end
  end
  local audience = names and 'O' .. table.concat(there) or 'E'
  append(64 + #kind + #data + 16 * #there, 'signal',
    struct.pack('>I4c0I4c0I4c0I4c0', #me, me, #audience, audience, #kind, kind, #data, data))
  return pack('accepted', S.sequence) .. pack_all(absent)
end

-- What was decided before, if that is one of the newest that are kept: the stream has some
-- more.
local function decided(id)
  if id == NO_ID or id > H.last then return nil end
  local found = call('XRANGE', outcomes, id, id)[1]
  local too_many = call('XLEN', outcomes) - kept
  if found and too_many > 0 then
    local older = call('XRANGE', outcomes, '-', '+', 'COUNT', int(too_many))
    for _, entry in ipairs(older) do
      if found and entry[1] == found[1] then found = nil end
    end
  end
  return found and found[2][2] or pack('unknown', H.last)
end

-- One connection, whose own keys and arguments begin here.
local function serve(key, at)
  SESSION, LOG, outcomes = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  name, me = ARGV[at], ARGV[at + 1]
  local generation, last = tonumber(ARGV[at + 2]), at + 3 + ARGV[at + 3]
  local field = 'h' .. me
  local _, hot = read(field)
  H = read_hot(hot)
  if not attached(H, generation, me) then return end
  at = at + 4
  while at <= last and H do
    local what, id = ARGV[at], ARGV[at + 1]
    if what == 'L' then
      leave(me, H, outcomes)
      H = nil
    else
      local outcome = decided(id)
      local is_new = not outcome
      local whom, released
      if what == 'S' then
        local count = tonumber(ARGV[at + 4])
        if is_new then
          outcome = signal(ARGV[at + 2], ARGV[at + 3], count >= 0 and {unpack(ARGV, at + 5, at + 4 + count)} or nil)
        end
        at = at + 5 + math.max(count, 0)
      elseif what == 'R' or what == 'K' then
        outcome = outcome or pack('refused', ARGV[at + 2])
        at = at + 3
      else
        if is_new then outcome, whom, released = disconnect(me, H, ARGV[at + 2], KEYS[tonumber(ARGV[at + 3])]) end
        at = at + 4
      end
      if whom == me then
        H = nil
      elseif is_new and id ~= NO_ID then
        H.last = id
        -- As many at least: forgetting some of a block is dear.
        call('XADD', outcomes, 'MAXLEN', '~', kept, id, 'o', outcome)
      end
      if what ~= 'K' then effect('answer', me, generation, id, outcome) end
      if released then effect('release', whom, released, 'disconnected', 0) end
    end
  end
  if H then fields = {field, packed_hot(H)} end
  conclude()
end

local key, at, is_told, served = tonumber(ARGV[9]), 10, false, {}
while ARGV[at] do
  local is_well, error = pcall(serve, key, at)
  -- What has a place keeps it.
  if not is_well then pcall(conclude) end
  is_told = is_told or #effects > 0
  served[#served + 1] = is_well and {S.epoch, effects} or {type(error) == 'table' and error.err or tostring(error)}
  key, at = key + 3, at + 4 + ARGV[at + 3]
end
return {'OK', 0, clock(is_told), {}, unpack(served)}
