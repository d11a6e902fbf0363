-- Why a running answer must end, and how: an event stream between two events, with one that says why; anything else
-- breaks off, for it must not look whole.

local hangup = require "hangup"
local page = require "page"
local refusals = require "refusals"
local revoked = require "revoked"

local find, sub, lower, match = string.find, string.sub, string.lower, string.match
local now = ngx.now
local SPLIT = 65536 -- bytes that may still pass so that an event is whole

local TOLD = {
    revoked = { 401, "This caller was revoked while the answer ran. Ask the operators of this edge." },
    token_expired = { 401, "The token ended while the answer ran. Get a new one, then ask again." },
    revocations_unknown = { 503, "Nobody could tell just now who was revoked, so the answer was ended. Try again." },
}

local M = {}

-- Why the answer `run` must end now, or nil. While the epoch stands nobody was revoked, so that costs nothing.
function M.due(run)
    local at = now()
    if at >= run.decision.ends then
        return "token_expired"
    end
    local epoch = page.again()
    if epoch == run.epoch then
        return nil
    end
    local fine, found = pcall(revoked.holds, run.decision.ties, at)
    if not (fine and epoch) then
        return "revocations_unknown"
    end
    if found then
        return "revoked"
    end
    run.epoch = epoch
end

-- The place in `data` up to which an event is whole, or nil.
local function boundary(data)
    local first
    for _, mark in ipairs { "\n\n", "\r\n\r\n", "\r\r" } do
        local _, stop = find(data, mark, 1, true)
        if stop and (not first or stop < first) then
            first = stop
        end
    end
    return first
end

-- Whether one more event can be put behind what was sent: not into a length that was told, nor into a coding.
local function takes_event()
    if ngx.header.content_length or ngx.header.content_encoding then
        return false
    end
    local kind = lower(ngx.header.content_type or "")
    return match(kind, "^text/event%-stream *$") or match(kind, "^text/event%-stream *;")
end

local function event(why)
    ngx.var.mw_message = TOLD[why][2]
    return "data: " .. refusals.shape(TOLD[why][1], "edge") .. "\n\n"
end

-- The next piece of an answer that must end because of `run.why`: what of `data` goes on, and whether that is the end.
-- Throws where it must break off.
function M.cut(run, data, last)
    ngx.var.mw_reason = run.why
    if not takes_event() then
        error(run.why, 0)
    end
    local tail = run.tail or ""
    local stop = boundary(tail .. data)
    if not stop and not last and (run.more or 0) < SPLIT then
        run.more, run.tail = (run.more or 0) + #data, sub(tail .. data, -3)
        return data, false
    end
    local rest = stop and sub(data, 1, stop - #tail) or data .. "\n\n"
    hangup.on(ngx.var.binary_remote_addr, tonumber(ngx.var.remote_port), tonumber(ngx.var.server_port))
    return rest .. event(run.why), true
end

return M
