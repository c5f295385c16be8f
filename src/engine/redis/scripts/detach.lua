-- A stream is gone, for a reason other than a leave: its connection is waited for, for
-- its window, or is destroyed when it has none.
--
-- KEYS   10 the connection's outcomes
-- ARGV   6 connection, 7 generation, 8 how it ended, 9 whether it may be waited for (1 or
--        0), 10 the reason told of it if it isn't
-- Effect the stream is released; the connection interrupted, or gone
-- Cost   some seven commands
local me, generation = ARGV[6], tonumber(ARGV[7])
local hot, cold = load('h' .. me, 'i' .. me)
local H, C = read_hot(hot), read_cold(cold)
if not attached(H, generation) then return finish() end
lose(me, H, C, KEYS[10], ARGV[8], ARGV[9] == '1', ARGV[10], 'network', now)
return finish()
