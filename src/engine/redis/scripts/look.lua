-- Looks at a session.
--
-- ARGV   6 the place after which connections are listed, 7 how many at the most
-- Effect none
-- Cost   four commands, and one for each thousand connections
read()
if S.members == 0 then return {'OK', 0, 0, effects, 'nobody-there'} end
local connections = {}
local most = tonumber(ARGV[7])
if most > 0 then
  connections = call('ZRANGEBYSCORE', KEYS[5], '(' .. ARGV[6], '+inf', 'LIMIT', 0, most)
end
local hots, colds = read_all(connections)
local all = {}
for at, connection in ipairs(connections) do all[at] = view(connection, hots[at], colds[at]) end
return {'OK', S.epoch, 0, effects, 'there', S.members, call('ZCARD', KEYS[6]), S.sequence, S.created, all}
