-- The raw target, cut: which front, which model, which path (without the query), and where what goes on begins. No byte
-- is changed. Only of requests that the gate let pass, so there is no second spelling of anything.

local find, sub = string.find, string.sub

local M = {}

-- `/m/<model><rest>`, or `/v1/...`, whose model the body names. `from`: the place in `raw` from which the target goes
-- on; `before`: what goes on before that.
function M.cut(raw)
    local query = find(raw, "?", 1, true) or #raw + 1
    if sub(raw, 1, 4) == "/v1/" then
        return { front = "v1", model = "", path = sub(raw, 1, query - 1), before = "", from = 1 }
    end
    if sub(raw, 1, 3) ~= "/m/" then
        error("no front", 0)
    end
    local slash = find(raw, "/", 4, true)
    if not slash or slash > query then
        return { front = "m", model = sub(raw, 4, query - 1), path = "/", before = "/", from = query }
    end
    return { front = "m", model = sub(raw, 4, slash - 1), path = sub(raw, slash, query - 1), before = "", from = slash }
end

return M
