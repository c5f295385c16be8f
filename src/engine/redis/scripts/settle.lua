-- What became of streams that a node has, when it may not have been told: it was without
-- Redis, or has a new name. Those that are still theirs are on this node from here on.
--
-- ARGV   6... connection and generation of each
-- Effect the node of those that were under another name
-- Cost   one command for each thousand streams, and some four for each under another name
load()
local places = {}
for from = 6, #ARGV, 2000 do
  local asked = {}
  for at = from, math.min(from + 1999, #ARGV), 2 do asked[#asked + 1] = 'h' .. ARGV[at] end
  local found = S.members > 0 and call('HMGET', SESSION, unpack(asked)) or {}
  for at = 1, #asked do
    local connection, generation = ARGV[from + 2 * at - 2], tonumber(ARGV[from + 2 * at - 1])
    local H = read_hot(found[at])
    local is_theirs = attached(H, generation)
    if is_theirs and H.node ~= node then
      count_stream(H.node, -1)
      count_stream(node, 1)
      H.node = node
      write_hot(connection, H)
    end
    places[#places + 1] = is_theirs and 1 or 0
  end
end
return finish(S.sequence, places)
