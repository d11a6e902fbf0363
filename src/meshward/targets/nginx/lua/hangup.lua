-- Leaves the model of an answer that was ended before its end. nginx goes on to read what nobody gets, unless the
-- client leaves; so to nginx it has left: nothing more is read from its connection. What was written still arrives.

local sockets = require "sockets"

local M = {}

-- Hangs up on whoever is connected from `peer` and `peer_port` to our `port`. Only one connection can be. `how`: the side
-- that is shut, if not that from which we read.
function M.on(peer, peer_port, port, how)
    for fd = 3, sockets.last() do
        local from, from_port = sockets.peer(fd)
        if from == peer and from_port == peer_port and select(2, sockets.own(fd)) == port then
            return sockets.shut(fd, how or sockets.READING)
        end
    end
    return false
end

return M
