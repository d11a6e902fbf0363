-- How long a request may last in all, whoever makes it slow. A running answer is ended at its next piece (endings.lua),
-- and by its guard; whoever still sends a body then, or does not read the end of an answer, is hung up on.

local clock = require "clock"
local hangup = require "hangup"
local sockets = require "sockets"

local var = ngx.var
local GRACE = 5 -- seconds in which the end of an answer goes out

local open = {} -- the requests under way, by their ids

local M = { UNNAMED = 3600 } -- seconds for a body that has yet to name its model

-- From now on this request, of somebody who is known, is watched. It `began` a while ago.
function M.enter(began)
    local mine = { began = began, peer = var.binary_remote_addr }
    mine.peer_port, mine.port = tonumber(var.remote_port), tonumber(var.server_port)
    open[var.request_id] = mine
    return mine
end

-- It may last `seconds` in all.
function M.allow(mine, seconds)
    mine.till = mine.began + seconds
end

-- Its body is here: what it may last is for its answer, whose end needs its time as well.
function M.answered(mine)
    mine.till = mine.till + GRACE
end

-- It has ended. Whether it was hung up on.
function M.leave()
    local mine = open[var.request_id]
    open[var.request_id] = nil
    return mine and mine.over
end

-- Hangs up on all that are overdue.
function M.look()
    local at = clock.now()
    for _, mine in pairs(open) do
        if at >= mine.till and not mine.over then
            mine.over = true
            hangup.on(mine.peer, mine.peer_port, mine.port, sockets.BOTH)
        end
    end
end

return M
