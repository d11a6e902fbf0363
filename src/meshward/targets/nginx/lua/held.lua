-- How many connections one address may hold to this worker, whatever it sends on them or does not. nginx counts by
-- address only once a request has come, and a handshake only once its first message is whole: so they are looked at
-- in turns, and what is over the number is shut. (All else that nginx has open are unix sockets.)

local crowd = require "crowd"
local settings = require "settings"
local sockets = require "sockets"

local SLICE = 128 -- descriptors that are looked at in one millisecond: some 50 us of it
local PAUSE = 0.001 -- seconds

local M = {}

-- Looks at all of them once.
function M.look()
    local held = {}
    for fd = 3, sockets.last() do
        local from = sockets.peer(fd)
        if from then
            local whose = crowd.whose(from)
            held[whose] = (held[whose] or 0) + 1
            if held[whose] > settings.held_per_address then
                sockets.shut(fd, sockets.BOTH)
            end
        end
        if fd % SLICE == 0 then
            ngx.sleep(PAUSE)
        end
    end
end

return M
