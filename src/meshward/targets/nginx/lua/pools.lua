-- Connections to guards elsewhere, kept open. nginx verifies a connection for one name, once, and keeps it by its address
-- alone: each name has a pool of its own, from a worker's first connection to its last. Names beyond the last pool get
-- a connection for each request.

local settings = require "settings"

local format = string.format

local M = { NONE = "https://mw_far" }

local pools, used = {}, 0

-- The upstream whose connections are all verified for `name`, which a decision has told.
function M.of(name)
    local found = pools[name]
    if not found then
        if used >= settings.pools then
            return M.NONE
        end
        found = format("https://mw_far%02d", used)
        pools[name], used = found, used + 1
    end
    return found
end

return M
