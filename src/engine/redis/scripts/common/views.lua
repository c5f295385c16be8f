-- For scripts that look at many connections; it is put after session.lua.
--
-- KEYS   5 order  ZSET  connection -> place of its joining

-- Hot and cold of many connections, in order; Lua takes some thousand values at once.
local function read_all(connections)
  local hots, colds = {}, {}
  for from = 1, #connections, 1000 do
    local asked = {}
    for at = from, math.min(from + 999, #connections) do
      asked[#asked + 1] = 'h' .. connections[at]
      asked[#asked + 1] = 'i' .. connections[at]
    end
    local found = call('HMGET', SESSION, unpack(asked))
    for at = 1, #found, 2 do
      hots[#hots + 1] = read_hot(found[at])
      colds[#colds + 1] = read_cold(found[at + 1])
    end
  end
  return hots, colds
end

-- A connection as others see it.
local function view(connection, H, C)
  return {connection, C.joined, C.created, C.role, C.data, H.till > 0 and 1 or 0, H.node, H.generation}
end

local function wants(H, kind)
  if not H.types then return true end
  for _, wanted in ipairs(H.types) do
    if wanted == kind then return true end
  end
  return false
end
