-- What the decision service said, read once and held by all requests that may use it. Whatever is not exactly what
-- wire.py promises is thrown: nothing of it may stay empty and be used.

local place = require "place"
local settings = require "settings"

local match, gmatch, find, sub = string.match, string.gmatch, string.find, string.sub
local unescape_uri = ngx.unescape_uri

local function demand(fine, what)
    return fine or error("the decision holds no " .. what, 0)
end

-- `<max_body>|<weight> <place> <dns name>[ <the server's name for the model>]|...`
local function versions(route)
    local most, rest = match(route, "^(%d+)|(.+)$")
    demand(most and #most <= 12, "route")
    local found, total = {}, 0
    for each in gmatch(rest .. "|", "([^|]*)|") do
        local weight, where, name, called = match(each, "^(%d+) (%S+) ([a-z0-9][a-z0-9.-]*) (%S+)$")
        if not weight then
            weight, where, name = match(each, "^(%d+) (%S+) ([a-z0-9][a-z0-9.-]*)$")
        end
        demand(weight and #weight <= 6 and #name <= 253, "version")
        total = total + tonumber(weight)
        called = called and unescape_uri(called)
        found[#found + 1] = { upto = total, place = place.read(where, name), name = name, called = called }
    end
    demand(total > 0, "weight")
    return tonumber(most), found, total
end

-- Seconds for which nothing may come of an answer, and that its request may last in all.
local function times(text)
    local silence, whole = match(text or "", "^(%d+) (%d+)$")
    demand(silence and #silence <= 9 and #whole <= 9, "times")
    return tonumber(silence), tonumber(whole)
end

local function names(text)
    if not text then
        return nil
    end
    local found = {}
    for each in gmatch(text, "%S+") do
        found[unescape_uri(each)] = true
    end
    return found
end

local function limit(said)
    local rate = said["x-mw-limit"] or ""
    if rate == "" then
        return "", ""
    end
    local bucket = said["x-mw-bucket"] or ""
    demand(settings.rates[rate] and #bucket == 32 and not find(bucket, "[^0-9a-f]"), "limit that is counted")
    return rate, bucket
end

-- The ties of an answer: 32 hex digits each, one space between two.
local function ties(text)
    local found = {}
    for each in gmatch(demand(text, "ties") .. " ", "([^ ]*) ") do
        demand(#each == 32 and not find(each, "[^0-9a-f]") and #found < 16, "ties")
        found[#found + 1] = each
    end
    return found
end

local function permit(said)
    local d = { permit = true }
    d.most, d.versions, d.total = versions(said["x-mw-route"] or "")
    d.silence, d.lasts = times(said["x-mw-times"])
    d.names = names(said["x-mw-names"])
    d.limit, d.bucket = limit(said)
    d.token = demand(match(said["x-mw-txn-token"] or "", "^[%w%-_]+%.[%w%-_]+%.[%w%-_]+$"), "token")
    d.ties = ties(said["x-mw-ties"])
    local ends = said["x-mw-ends"]
    d.ends = ends and tonumber(demand(match(ends, "^%d+$"), "end")) or math.huge
    return d
end

local STATUSES = { ["400"] = 400, ["401"] = 401, ["403"] = 403, ["404"] = 404, ["429"] = 429, ["503"] = 503 }

local function printable(text, most)
    return text and #text > 0 and #text <= most and not find(text, "[^\32-\126]") and text or nil
end

local function refusal(status, said)
    local reason = said["x-mw-reason"] or ""
    return {
        status = STATUSES[said["x-mw-status"]] or status,
        reason = #reason <= 64 and match(reason, "^[a-z][a-z0-9_]*$") or "refused",
        message = printable(said["x-mw-message"], 200) or "The request was refused.",
        challenge = printable(said["x-mw-challenge"], 4096),
    }
end

local BESIDES = 1024 -- bytes that a remembered decision takes beside its texts: tables, the heads of its strings

local function size(said)
    local found = BESIDES
    for _, value in pairs(said) do
        found = found + #value
    end
    return found
end

local M = {}

-- `status` and the headers of the service's answer, by their names in lower case. Throws where it is no decision.
function M.read(status, said)
    local d
    if status == 200 then
        d = permit(said)
    elseif status == 401 or status == 403 or (status == 503 and said["x-mw-reason"]) then
        d = refusal(status, said)
    else
        error("nobody decided", 0)
    end
    d.facts = said["x-mw-facts"] or ""
    demand(not find(d.facts, "[^%w%-_]"), "facts")
    d.ttl = tonumber(match(said["x-mw-ttl"] or "", "^%d%d?%d?$") or 0)
    d.size = size(said)
    return d
end

-- One of the weighted versions, by the request's random id.
function M.version(d, id)
    local all = d.versions
    if #all == 1 then
        return all[1]
    end
    local at, i = tonumber(sub(id, 1, 12), 16) % d.total, 1
    while at >= all[i].upto do
        i = i + 1
    end
    return all[i]
end

return M
