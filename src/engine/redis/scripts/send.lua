-- Does what a connection asks for on its stream: signals, disconnects, a leave; several
-- in their order.
--
-- KEYS   9 the connection's outcomes, 10... the outcomes of those to be disconnected
-- ARGV   6 connection, 7 generation, 8 signals a second, 9 and at once (0: no limit),
--        10 how many outcomes are kept, then for each
--          `S`, id, `1`, type, data, count of names (-1: everyone), names...
--          `S` or `D`, id, `0`, a refusal decided before
--          `D`, id, `1`, name, number of its KEY
--          `L`
-- Effect events, outcomes, releases
-- Cost   ZSCORE, HMGET, two HSET; for each signal two XADD, and a PUBLISH for each other
--        node with members, all signals in one
local me, generation = ARGV[6], tonumber(ARGV[7])
local rate, burst, kept = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local hot, cold = load('h' .. me, 'i' .. me)
local H, C = read_hot(hot), read_cold(cold)
if not attached(H, generation) then return finish() end

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
  append(64 + #kind + #data + 16 * #there, 'signal', me, names and 'O' .. table.concat(there) or 'E', kind, data)
  return pack('accepted', S.sequence, unpack(absent))
end

local function decide(id, outcome)
  if id == string.rep('0', 20) or not H then return end
  H.last = id
  call('XADD', KEYS[9], 'MAXLEN', kept, string.gsub(id, '^0+', '') .. '-0', 'o', outcome)
end

-- What was decided before.
local function decided(id)
  if id == string.rep('0', 20) or id > H.last then return nil end
  local number = string.gsub(id, '^0+', '')
  local found = call('XRANGE', KEYS[9], number .. '-0', number .. '-0')
  return found[1] and found[1][2][2] or pack('unknown', H.last)
end

local at = 11
local left = false
while ARGV[at] and not left do
  local what, id = ARGV[at], ARGV[at + 1]
  if what == 'L' then
    count_stream(H.node, -1)
    destroy(me, H, C, 'client')
    call('DEL', KEYS[9])
    effect('release', me, generation, 'left', 0)
    left, H = true, nil
  else
    local is_sound = ARGV[at + 2] == '1'
    local outcome = decided(id)
    local is_new = not outcome
    local release
    if not is_sound then
      outcome = outcome or pack('refused', ARGV[at + 3])
      at = at + 4
    elseif what == 'S' then
      local count = tonumber(ARGV[at + 5])
      if is_new then
        outcome = signal(ARGV[at + 3], ARGV[at + 4], count >= 0 and {unpack(ARGV, at + 6, at + 5 + count)} or nil)
      end
      at = at + 6 + math.max(count, 0)
    else
      if is_new then
        local named = ARGV[at + 3]
        local whom = string.sub(named, 1, 1) == 'I' and string.sub(named, 2) or nil
        local found = whom and call('HMGET', SESSION, 'h' .. whom, 'i' .. whom) or {}
        local other = whom == me and H or read_hot(found[1])
        if other then
          if other.till == 0 then release = {whom, other.generation} end
          throw_out(whom, other, read_cold(found[2]), KEYS[tonumber(ARGV[at + 4])])
          outcome = pack('accepted', S.sequence)
          if whom == me then left, H = true, nil end
        else
          outcome = pack('gone')
        end
      end
      at = at + 5
    end
    if is_new then decide(id, outcome) end
    effect('answer', me, generation, id, outcome)
    if release then effect('release', release[1], release[2], 'disconnected', 0) end
  end
end
if H then write_hot(me, H) end
return finish()
