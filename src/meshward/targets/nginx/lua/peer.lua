-- To whom nginx connects for a request whose place is not on this machine: the address that its decision told.

local balancer = require "ngx.balancer"

return function()
    local place = ngx.ctx.place
    assert(balancer.set_current_peer(place.address, place.port))
end
