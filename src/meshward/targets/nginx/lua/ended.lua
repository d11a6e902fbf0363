-- When a request has ended, before its line is written.

local answer = require "answer"
local counted = require "counted"
local crowd = require "crowd"
local overdue = require "overdue"

local var = ngx.var

-- A request that went to no guard, and that nobody refused: its client left, or was too slow.
local function given_up()
    local refusal = counted.one_more()
    if refusal then
        counted.note(refusal, var.status, var.mw_reason, "")
    end
end

return function()
    local net = var.mw_net
    if net ~= "" then
        crowd.leave(net)
        if overdue.leave() and ngx.var.mw_reason == "" then
            ngx.var.mw_reason = "time_over"
        end
        answer.ended()
        if not ngx.ctx.decision and var.mw_layer == "" then
            given_up()
        end
    end
end
