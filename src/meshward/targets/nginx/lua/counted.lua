-- Refusals of one identity: the first few of a second have a line each in the log, the others are counted, and a line for
-- each reason says how many they were once the second is over. Else whoever has an account could fill the disk. What a
-- worker has counted and not written is lost if it is killed: a second's.

local base64 = require "ngx.base64"
local digest = require "digest"
local raw = require "raw"
local recent = require "recent"
local settings = require "settings"

local find, floor, format, gsub, sub = string.find, math.floor, string.format, string.gsub, string.sub
local now, var = ngx.now, ngx.var

-- Of how many it is remembered, twice, how often they were refused: 3 MB. Who has more of them gains nothing when one is
-- forgotten: each of the others has its few as well.
local IDENTITIES = 8192
local ROWS = 1024 -- identities and reasons that are counted at a time; of what is more, each has its line
local SHOWN = 256 -- bytes of a target in the line of a refusal: its client chose them, and may send 8 kB

local lately = recent.new(IDENTITIES) -- how often each was refused in its last second
local rows, held = {}, 0 -- what has no line, by identity, status and reason
local second = 0 -- in which they were begun

-- Whom `facts` are about: the bytes of `sub` in their JSON, up to a quote that no backslash stands for.
local function whose(facts)
    local text = base64.decode_base64url(facts) or ""
    local _, before = find(text, '"sub": ?"')
    local past = before and find(gsub(sub(text, before + 1), "\\.", "--"), '"', 1, true)
    return digest.whole(past and sub(text, before + 1, before + past - 1) or facts)
end

-- How often `who` was refused in this second, this time included.
local function number_of(who, at)
    local found = lately:get(who)
    if not found then
        found = { size = 1 }
        lately:put(who, found)
    end
    if found.at ~= at then
        found.at, found.count = at, 0
    end
    found.count = found.count + 1
    return found.count
end

local function new_row(facts, status, reason, layer)
    return {
        n = 0,
        rid = var.request_id,
        t = format("%.3f", now()),
        ip = var.remote_addr,
        pid = ngx.worker.pid(),
        status = status,
        reason = reason,
        facts = facts,
        layer = layer,
    }
end

-- As nginx writes one. What is not known of all of them is empty; nothing in it needs an escape.
local function text_of(row)
    local text = '{"v":"1","hop":"edge"'
    for _, name in ipairs(settings.fields) do
        text = format('%s,"%s":"%s"', text, name, row[name] or "")
    end
    return text .. "}\n"
end

-- What cannot be written stays, and goes on counting.
local function write()
    local file = io.open(settings.log, "ab")
    if not file then
        return
    end
    file:setvbuf("no") -- a line at once: others write there, too
    for key, row in pairs(rows) do
        if not file:write(text_of(row)) then
            break
        end
        rows[key], held = nil, held - 1
    end
    file:close()
end

local M = {}

-- Writes what was counted in a second that is over.
function M.settle()
    local at = floor(now())
    if held > 0 and at ~= second then
        write()
    end
    second = at
    return at
end

-- The same at the worker's end: this second's, too.
function M.leave()
    if held > 0 then
        write()
    end
end

-- One more refusal of this request's caller; nil where nobody knows who that is. `number`: the how manieth of this second.
function M.one_more()
    if select(2, raw.get("mw_facts")) == 0 then
        return nil
    end
    local at, facts = M.settle(), var.mw_facts
    local who = whose(facts)
    return { who = who, facts = facts, number = number_of(who, at) }
end

local function shorten(name)
    if #var[name] > SHOWN then
        var[name] = sub(var[name], 1, SHOWN) .. "..."
    end
end

-- Decides whether that refusal has a line of its own. Else mw_counted names the record that will count it.
function M.note(refusal, status, reason, layer)
    shorten("mw_path")
    shorten("mw_model")
    if refusal.number <= settings.refusals_told then
        return
    end
    local key = refusal.who .. status .. reason
    local row = rows[key]
    if not row then
        if held >= ROWS then
            return
        end
        row = new_row(refusal.facts, status, reason, layer)
        rows[key], held = row, held + 1
    end
    row.n = row.n + 1
    var.mw_counted = row.rid
end

return M
