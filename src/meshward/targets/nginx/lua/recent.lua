-- What was used lately, in bounded room: two generations. What is used moves into the young one; when that is full it
-- becomes the old one, and what nobody used since the last time is forgotten. Each value says its own `size`.

local M = {}
M.__index = M

-- `most`: the room of one generation, in whatever unit the values' sizes are.
function M.new(most)
    return setmetatable({ most = most, room = 0, young = {}, old = {} }, M)
end

function M:get(key)
    local found = self.young[key]
    if found == nil then
        found = self.old[key]
        if found ~= nil then
            self:put(key, found)
        end
    end
    return found
end

function M:put(key, value)
    if self.room + value.size > self.most then
        self.old, self.young, self.room = self.young, {}, 0
    end
    self.young[key] = value
    self.room = self.room + value.size
end

return M
