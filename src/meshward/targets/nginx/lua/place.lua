-- Where a version answers, as the decision says it: a guard's slot on this machine, a guard elsewhere by mutual TLS, or
-- a service by its name through the edge's own sidecar. What is not exactly one of them is thrown: it must become no
-- other address, header or scheme.

local settings = require "settings"

local match, find = string.match, string.find

local function demand(fine)
    return fine or error("the decision holds no place", 0)
end

-- An IPv4 address, or an IPv6 address in brackets; and a port.
local function socket(text)
    local a, b, c, d, port = match(text, "^(%d+)%.(%d+)%.(%d+)%.(%d+):(%d+)$")
    if a then
        for _, octet in ipairs { a, b, c, d } do
            demand(#octet <= 3 and tonumber(octet) <= 255)
        end
        return demand(match(text, "^(.+):")), port, a == "127"
    end
    local address
    address, port = match(text, "^(%[[0-9a-f:]+%]):(%d+)$")
    demand(address and #address <= 41)
    return address, port, address == "[::1]"
end

local function peer(text)
    local address, port, own = socket(text)
    demand(#port <= 5 and tonumber(port) > 0 and tonumber(port) < 65536)
    return address, tonumber(port), own
end

-- A name that can stand in `Host`: lower case, and nothing that ends a line or begins a port.
local function authority(name)
    return demand(#name <= 253 and match(name, "^[a-z0-9][a-z0-9.-]*$") and not find(name, "..", 1, true)) and name
end

local M = {}

-- A place: its `kind` for the log ("" where it is a slot), its `upstream`, and the `host` that it is asked for. `name`:
-- the DNS name in the SVID of its guard.
function M.read(word, name)
    if match(word, "^%d%d$") then
        demand(tonumber(word) < settings.slots)
        return { kind = "", upstream = "https://slot" .. word, host = name }
    end
    local far = match(word, "^far/([^/]+)$")
    if far then
        local address, port = peer(far)
        return { kind = "far", address = address, port = port, host = name, name = name }
    end
    local near, asked = match(word, "^near/([^/]+)/([^/]+)$")
    local address, port, own = peer(demand(near))
    demand(own) -- in plain HTTP, with a token: to nobody but a process of this machine
    return { kind = "near", upstream = "http://mw_near", address = address, port = port, host = authority(asked) }
end

return M
