-- What one connection asks for beside its stream, by the secret that resumes it; it is put
-- before send.lua, with all that this needs where it serves one.
--
-- ARGV   as send.lua's, the generation being 0; the last, which it isn't to see, is the hash
--        of the secret
local token = table.remove(ARGV)

-- Whether that is the connection's, which may be interrupted.
local function attached(H, _, connection)
  if not H or (H.till > 0 and H.till <= now) then return false end
  return read_cold(call('HGET', SESSION, 'i' .. connection)).token == token
end
