-- A node is dead: its stream of a connection is gone.
--
-- KEYS   10 the connection's outcomes
-- ARGV   6 connection, 7 the node
-- Effect as of detach, but that its window began when the lease was over; none when the node
--        has a lease, or the connection isn't on it
-- Cost   some eight commands
local me, dead = ARGV[6], ARGV[7]
local hot, cold = load('h' .. me, 'i' .. me)
local H, C = read_hot(hot), read_cold(cold)
local till = call('ZSCORE', LEASES, dead)
if (till and tonumber(till) > now) or not H or H.till > 0 or H.node ~= dead then return finish() end
lose(me, H, C, KEYS[10], 'broken', true, 'node', 'node', till and tonumber(till) or now)
return finish()
