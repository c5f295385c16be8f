-- A backend disconnects a connection.
--
-- KEYS   10 the outcomes of the connection, where the name can be one
-- ARGV   6 its name
-- Effect it is gone; its stream is released
-- Cost   some ten commands
load()
if S.members == 0 then return finish('nobody-there') end
local named = ARGV[6]
local whom = string.sub(named, 1, 1) == 'I' and string.sub(named, 2) or nil
local found = whom and call('HMGET', SESSION, 'h' .. whom, 'i' .. whom) or {}
local H = read_hot(found[1])
if not H then return finish('gone') end
throw_out(whom, H, read_cold(found[2]), KEYS[10])
if H.till == 0 then effect('release', whom, H.generation, 'disconnected', 0) end
return finish('accepted', S.sequence)
