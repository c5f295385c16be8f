-- A stream is gone, for a reason other than a leave: its connection is waited for, for
-- its window, or is destroyed when it has none.
--
-- KEYS   8 the connection's outcomes
-- ARGV   6 connection, 7 generation, 8 how it ended, 9 whether it may be waited for (1 or
--        0), 10 the reason told of it if it isn't
-- Effect the stream is released; the connection interrupted, or gone
-- Cost   some seven commands
local me, generation = ARGV[6], tonumber(ARGV[7])
local hot, cold = load('h' .. me, 'i' .. me)
local H, C = read_hot(hot), read_cold(cold)
if not attached(H, generation) then return finish() end
local resumable = H.window > 0 and ARGV[9] == '1'
effect('release', me, generation, ARGV[8], resumable and 1 or 0)
count_stream(H.node, -1)
if not resumable then
  destroy(me, H, C, ARGV[10])
  call('DEL', KEYS[8])
  return finish()
end
H.node, H.till = '', now + H.window
write_hot(me, H)
call('ZADD', WINDOWS, int(H.till), window_member(me, C))
schedule()
-- Who is never back leaves no outcomes behind.
call('PEXPIRE', KEYS[8], math.floor(H.window / 1000) + 60000)
append(64, 'cut', me)
return finish()
