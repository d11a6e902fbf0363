-- Decisions in this worker's memory, never on a disk, keyed by the bytes of everything that they depend on: two
-- questions can never share an answer. Of several requests with one question one asks, and wakes the others.

local semaphore = require "ngx.semaphore"
local decision = require "decision"
local recent = require "recent"
local settings = require "settings"

local now = ngx.now
local PATIENCE = 4 -- seconds until one who waits asks for himself: longer than any question takes
local SUBREQUEST = { method = ngx.HTTP_GET, copy_all_vars = true }

local known = recent.new(settings.room)
local asking = {} -- who asks just now, by key

local function ask()
    local answer = ngx.location.capture("/_decide", SUBREQUEST)
    local said = {}
    for name, value in pairs(answer.header) do
        said[string.lower(name)] = type(value) == "string" and value or nil
    end
    local d = decision.read(answer.status, said)
    d.dies = now() + d.ttl
    return d
end

-- What one got serves all who asked the same at that time, unless it was for one use.
local function shared(d)
    return d.ttl > 0 or not d.permit
end

local function wait(other)
    other.waiting = other.waiting + 1
    other.woken:wait(PATIENCE)
    local d = other.decision
    if other.failed then
        error(other.failed, 0)
    end
    return d and shared(d) and d or ask()
end

local function ask_for_all(key)
    local mine = { woken = semaphore.new(), waiting = 0, since = now() }
    asking[key] = mine
    local fine, d = pcall(ask)
    if asking[key] == mine then
        asking[key] = nil
    end
    mine.decision, mine.failed = fine and d, not fine and d
    if mine.waiting > 0 then
        mine.woken:post(mine.waiting)
    end
    return fine and d or error(d, 0)
end

local M = {}

-- What is remembered for `key`, or nil.
function M.known(key)
    local d = known:get(key)
    if d and d.dies > now() then
        return d
    end
end

-- Asks with what the request's variables say, and remembers the answer for `key` as long as it may, with `more` bytes
-- that the caller keeps in it. Throws where nobody decides.
function M.ask(key, more)
    local other = asking[key]
    if other and now() - other.since < PATIENCE then
        return wait(other)
    end
    local d = ask_for_all(key)
    if d.ttl > 0 then
        d.size = d.size + #key + more
        known:put(key, d)
    end
    return d
end

-- Whether `d`, a while after it was made, is to be used no more: the credential may have ended.
function M.ended(d)
    return now() > d.dies
end

return M
