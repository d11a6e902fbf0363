-- Whether a caller's answers are to end: a search in the list that meshward writes for this.
-- Sorted lines of 32 hex digits, a space, and ten digits of the second until when (0: for ever), then `end`.

local settings = require "settings"

local match, open = string.match, io.open
local LINE = 44 -- bytes

local function read(file, at, size, form)
    file:seek("set", at)
    local text = file:read(size)
    local first, second = match(text or "", form)
    if not first then
        error("the list of the revoked is damaged", 0)
    end
    return first, second
end

-- By halves: a long list read whole would stop every other request, once for each answer that runs.
local function holds(file, lines, tie, now)
    local from, to = 0, lines
    while from < to do
        local middle = math.floor((from + to) / 2)
        local found, till = read(file, middle * LINE, LINE, "^(%x+) (%d+)\n$")
        if found == tie then
            return tonumber(till) == 0 or now < tonumber(till)
        elseif found < tie then
            from = middle + 1
        else
            to = middle
        end
    end
    return false
end

local function any(file, ties, now)
    local size = file:seek("end")
    read(file, size - 4, 4, "^(end)\n$")
    if size % LINE ~= 4 then
        error("the list of the revoked is damaged", 0)
    end
    for _, tie in ipairs(ties) do
        if holds(file, (size - 4) / LINE, tie, now) then
            return true
        end
    end
    return false
end

local M = {}

-- Whether one of `ties` stands among the revoked at `now` (seconds). Throws where nobody can tell.
function M.holds(ties, now)
    local file = assert(open(settings.revoked, "rb"))
    local fine, found = pcall(any, file, ties, now)
    file:close()
    return fine and found or not fine and error(found, 0)
end

return M
