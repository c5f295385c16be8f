-- A backend sends a signal: it has no sender.
--
-- KEYS   6 the first response to a call with this key, where it has one
-- ARGV   6 whether there is a key (1 or 0), 7 for how many microseconds a response is kept,
--        8 type, 9 data, 10 count of names (-1: everyone), 11... names
-- Effect an event
-- Cost   ZMSCORE, HMGET, XADD, HSET, INCR, an SPUBLISH for each other node with members;
--        where somebody filters by type, one more for each thousand connections
read()
local has_key, keep = ARGV[6] == '1', tonumber(ARGV[7])
if has_key then
  local found = call('HMGET', KEYS[6], 'till', 'response')
  if found[1] and tonumber(found[1]) > now then return finish('repeated', found[2]) end
end
if S.members == 0 then return finish('nobody-there') end
local kind, data, count = ARGV[8], ARGV[9], tonumber(ARGV[10])
local names = count >= 0 and {unpack(ARGV, 11, 10 + count)} or nil
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
  for _, H in ipairs((read_all(call('ZRANGE', KEYS[5], 0, -1)))) do
    if wants(H, kind) then recipients = recipients + 1 end
  end
end
append(64 + #kind + #data + 16 * #there, 'signal', pack('', names and 'O' .. table.concat(there) or 'E', kind, data))
local response = pack(S.sequence, recipients, unpack(absent))
if has_key then
  call('HSET', KEYS[6], 'till', int(now + keep), 'response', response)
  call('PEXPIRE', KEYS[6], math.floor(keep / 1000))
end
return finish('accepted', response)
