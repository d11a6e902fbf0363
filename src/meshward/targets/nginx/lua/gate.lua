-- What must be true of a request before anybody is asked about it: the checks of gate.py, which nginx' maps judge by.

local settings = require "settings"

local M = {}

-- The status with which to refuse, or nil.
function M.refuses(var)
    for _, check in ipairs(settings.gate) do
        if (var[check.variable] == check.literal) == check.equal then
            return check.status
        end
    end
end

return M
