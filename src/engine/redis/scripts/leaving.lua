-- What a connection asks for by which members go; it is put after members.lua and before
-- send.lua, which calls it.

-- The connection leaves, with its stream, if it has one.
local function leave(me, H, outcomes)
  local C = read_cold(call('HGET', SESSION, 'i' .. me))
  local has_stream = H.till == 0
  if has_stream then
    count_stream(H.node, -1)
    tell(H.node, 'left', me, H.generation)
  end
  destroy(me, H, C, 'client')
  call('DEL', outcomes)
  if has_stream then effect('release', me, H.generation, 'left', 0) end
end

-- It disconnects another, or itself: what is decided, who it was, and the generation of
-- the stream that is to be released once that is answered.
local function disconnect(me, H, named, outcomes)
  local whom = string.sub(named, 1, 1) == 'I' and string.sub(named, 2) or nil
  local found = whom and call('HMGET', SESSION, 'h' .. whom, 'i' .. whom) or {}
  local other = whom == me and H or read_hot(found[1])
  if not other then return pack('gone') end
  throw_out(whom, other, read_cold(found[2]), outcomes)
  return pack('accepted', S.sequence), whom, other.till == 0 and other.generation or nil
end
