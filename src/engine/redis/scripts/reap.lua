-- Ends the windows of a session that are over.
--
-- Effect connections are gone
-- Cost   two commands, and some four for each connection
load()
tick()
return finish()
