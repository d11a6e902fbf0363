-- Why a running answer must end, and how: an event stream between two events, with one that says why; anything else
-- breaks off, for it must not look whole.

local hangup = require "hangup"
local page = require "page"
local refusals = require "refusals"
local revoked = require "revoked"

local find, sub, lower, match = string.find, string.sub, string.lower, string.match
local now = ngx.now
local SPLIT = 65536 -- bytes that may still pass so that an event is whole
local NEARLY, SHORT = 0.9, 0.1 -- of a silence; seconds
local TAIL = 3 -- bytes in which the end of an event is seen

local TOLD = {
    revoked = { 401, "This caller was revoked while the answer ran. Ask the operators of this edge." },
    token_expired = { 401, "The token ended while the answer ran. Get a new one, then ask again." },
    time_over = { 504, "This request lasted as long as one of this model may, so its answer was ended. Ask for less at once." },
    guard_timeout = { 504, "The model's server said nothing for longer than this model's timeout, so its answer was ended." },
    revocations_unknown = { 503, "Nobody could tell just now who was revoked, so the answer was ended. Try again." },
}

local M = {}

-- Why the answer `run` must end now, or nil; `time` is the clock's. While the epoch stands nobody was revoked, so that
-- costs nothing.
function M.due(run, time)
    local at = now()
    if at >= run.decision.ends then
        return "token_expired"
    end
    if time >= run.till then
        return "time_over"
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

-- Why a guard left the answer `run` in its midst, or nil where its time was not over. The guard began to count a little
-- later than the edge, but was told of the last piece a little before it.
function M.left(run, time)
    if time >= run.till - SHORT then
        return "time_over"
    end
    if time - run.at >= NEARLY * run.decision.silence then
        return "guard_timeout"
    end
end

-- An event ends with an empty line, and a line with LF, CR or both. Behind LF, a CR that is the last byte so far may be
-- half of what ends a line.
local ENDS = { "\n\n", "\r\r", "\r\r\n", "\n\r\n" }

-- The place in `data` up to which an event is whole, or nil.
local function boundary(data)
    local _, first = find(data, "\n\r[^\n]")
    first = first and first - 1
    for _, mark in ipairs(ENDS) do
        local _, stop = find(data, mark, 1, true)
        if stop and (not first or stop < first) then
            first = stop
        end
    end
    return first
end

-- Whether an event is whole behind `tail`, the last bytes that were sent; also where nothing was.
local function is_whole(tail)
    for _, mark in ipairs(ENDS) do
        if sub(tail, -#mark) == mark then
            return true
        end
    end
    return tail == ""
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

-- What of `data` still belongs to an event that has begun; nil: all, and it is not whole yet.
local function rest_of_event(run, data, last)
    if is_whole(run.tail) then
        return ""
    end
    local before = sub(run.tail, -2)
    local stop = boundary(before .. data)
    if stop then
        return sub(data, 1, stop - #before)
    end
    run.more = (run.more or 0) + #data
    if last or run.more > SPLIT then
        return data .. "\n\n"
    end
end

-- Keeps in mind how what was sent ends.
function M.sent(run, data)
    run.tail = #data >= TAIL and sub(data, -TAIL) or sub(run.tail .. data, -TAIL)
end

-- The next piece of an answer that must end because of `run.why`: what of `data` goes on, and whether that is the end.
-- Throws where it must break off.
function M.cut(run, data, last)
    ngx.var.mw_reason = run.why
    if not takes_event() then
        error(run.why, 0)
    end
    local rest = rest_of_event(run, data, last)
    if not rest then
        return data, false
    end
    if not run.left then
        hangup.on(ngx.var.binary_remote_addr, tonumber(ngx.var.remote_port), tonumber(ngx.var.server_port))
    end
    return rest .. event(run.why), true
end

return M
