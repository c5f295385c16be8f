-- What backends ask for: a signal without a sender, or a disconnect.
--
-- KEYS   9 the first response to a call with this key, where it has one, or the outcomes of
--        the connection to be disconnected, where it can be one
-- ARGV   6 `signal`: 7 whether there is a key (1 or 0), 8 for how many microseconds a
--        response is kept, 9 type, 10 data, 11 count of names (-1: everyone), 12... names
--        6 `disconnect`: 7 name
-- Effect an event; the stream of who is disconnected is released
-- Cost   ZSCORE, HMGET, XADD, HSET, a PUBLISH for each other node with members; where
--        somebody filters by type, one more for each thousand connections
load()
if ARGV[6] == 'disconnect' then
  if S.members == 0 then return finish('nobody-there') end
  local named = ARGV[7]
  local whom = string.sub(named, 1, 1) == 'I' and string.sub(named, 2) or nil
  local found = whom and call('HMGET', SESSION, 'h' .. whom, 'i' .. whom) or {}
  local H = read_hot(found[1])
  if not H then return finish('gone') end
  throw_out(whom, H, read_cold(found[2]), KEYS[9])
  if H.till == 0 then effect('release', whom, H.generation, 'disconnected', 0) end
  return finish('accepted', int(S.sequence))
end

local has_key, keep = ARGV[7] == '1', tonumber(ARGV[8])
if has_key then
  local found = call('HMGET', KEYS[9], 'till', 'response')
  if found[1] and tonumber(found[1]) > now then return finish('repeated', found[2]) end
end
if S.members == 0 then return finish('nobody-there') end
local kind, data, count = ARGV[9], ARGV[10], tonumber(ARGV[11])
local names = count >= 0 and {unpack(ARGV, 12, 11 + count)} or nil
local there, absent, hots = {}, {}, {}
local recipients = 0
if names then
  there, absent, hots = resolve(names)
  if #there == 0 then return finish('nobody', #names) end
  for _, hot in pairs(hots) do
    if wants(read_hot(hot), kind) then recipients = recipients + 1 end
  end
elseif S.filtering == 0 then
  recipients = S.members
else
  for _, H in ipairs((read_all(call('ZRANGE', ORDER, 0, -1)))) do
    if wants(H, kind) then recipients = recipients + 1 end
  end
end
append(64 + #kind + #data + 16 * #there, 'signal', '', names and 'O' .. table.concat(there) or 'E', kind, data)
local response = pack(S.sequence, recipients, unpack(absent))
if has_key then
  call('HSET', KEYS[9], 'till', int(now + keep), 'response', response)
  call('PEXPIRE', KEYS[9], math.floor(keep / 1000))
end
return finish('accepted', response)
