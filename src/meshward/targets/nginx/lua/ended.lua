-- When a request has ended, before its line is written.

local answer = require "answer"
local crowd = require "crowd"

return function()
    local net = ngx.var.mw_net
    if net ~= "" then
        crowd.leave(net)
        answer.ended()
    end
end
