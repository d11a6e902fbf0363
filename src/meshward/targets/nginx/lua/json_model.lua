-- The model that a JSON body names: exactly one top-level key that any reader of JSON could take for `model`, and its
-- string.
--
-- A linear scan of bytes by the table of `json_states.lua`. No objects and no tokens are built, so that no choice of
-- keys makes it slow, and `pause` is called every STRETCH bytes, so that no body keeps others waiting.

local plain_name = require("plain_name")
local states = require("json_states")

local byte, char, find, gsub, rep, sub = string.byte, string.char, string.find, string.gsub, string.rep, string.sub
local band, min, rshift = bit.band, math.min, bit.rshift
local NEXT = states.next
local PUSH_OBJECT, POP = states.PUSH_OBJECT, states.POP
local MODEL_KEY, VALUE_STARTS, VALUE_ENDS = states.MODEL_KEY, states.VALUE_STARTS, states.VALUE_ENDS
local OBJECT, AFTER_OBJECT, ARRAY, AFTER_ARRAY = states.OBJECT, states.AFTER_OBJECT, states.ARRAY, states.AFTER_ARRAY

local STRETCH = 16384                                          -- 0.04 ms compiled, 1 ms where the compiler is off
local DEEPEST = 200                                            -- some readers refuse more, some run out of stack
local LONGEST_TEXT = 256 * 12                                  -- of a name whose every character is two escapes

local M = {}

-- Scans from `i` to `stop`, or until something is to be done that is not a bracket. `after` is the state behind a value
-- at this depth; `outer` keeps those of the depths around. Byte by byte, without calls, for the sake of one compiled
-- trace.
local function scan(body, i, stop, state, after, depth, outer)
    while i <= stop do
        state = NEXT[state + byte(body, i)]
        i = i + 1
        if state >= PUSH_OBJECT then
            if state == POP then
                state, depth = outer[depth], depth - 1
                after = state
            elseif state > POP then
                break
            elseif depth == DEEPEST then
                return i, states.TOO_DEEP, after, depth
            else
                depth = depth + 1
                outer[depth] = after
                if state == PUSH_OBJECT then
                    state, after = OBJECT, AFTER_OBJECT
                else
                    state, after = ARRAY, AFTER_ARRAY
                end
            end
        end
    end
    return i, state, after, depth
end

-- The byte of a character's UTF-8 that holds the six bits from `place` up.
local function tail(code, place)
    return 0x80 + band(rshift(code, place), 63)
end

local function utf8(code)
    if code < 0x80 then
        return char(code)
    elseif code < 0x800 then
        return char(0xC0 + rshift(code, 6), tail(code, 0))
    elseif code < 0x10000 then
        return char(0xE0 + rshift(code, 12), tail(code, 6), tail(code, 0))
    end
    return char(0xF0 + rshift(code, 18), tail(code, 12), tail(code, 6), tail(code, 0))
end

-- What the inside of a JSON string means. A control character stays one, and half a surrogate pair becomes one: no name
-- has either.
local SHORT = {['"'] = '"', ["\\"] = "\\u005C", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function pair(high, low)
    return utf8(0x10000 + (tonumber(high, 16) - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00)
end

local function single(digits)
    local code = tonumber(digits, 16)
    return code >= 0xD800 and code < 0xE000 and "\0" or utf8(code)
end

local function decoded(text)
    if not find(text, "\\", 1, true) then
        return text
    end
    text = gsub(text, "\\(.)", SHORT)
    text = gsub(text, "\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", pair)
    return (gsub(text, "\\u(%x%x%x%x)", single))
end

-- The name between `from` and `to`, the inside of a JSON string.
local function name_at(body, from, to)
    local name = to - from < LONGEST_TEXT and decoded(sub(body, from, to))
    if not name or not plain_name(name) then
        return nil, "not_plain"
    end
    return from, to, name
end

-- Where the body names its model (the positions of the inside of the string, and the name), or nil and a problem word.
function M.find(body, pause)
    local i, stop, state, after, depth, outer = 1, min(STRETCH, #body), states.START, states.AFTER_TOP, 0, {}
    local from, to
    while state < MODEL_KEY and i <= #body do
        i, state, after, depth = scan(body, i, stop, state, after, depth, outer)
        if state == MODEL_KEY and not from then
            state = states.MODEL_COLON
        elseif state == VALUE_STARTS then
            from, state = i, states.MODEL_TEXT
        elseif state == VALUE_ENDS then
            to, state = i - 2, states.AFTER_TOP
        elseif i > stop and i <= #body then
            stop = min(stop + STRETCH, #body)
            pause()
        end
    end
    if state == states.ENDED and from then
        return name_at(body, from, to)
    elseif state == states.ENDED or states.not_started[state] then
        return nil, "absent"
    end
    return nil, state == MODEL_KEY and "twice" or states.problems[state] or "unfinished"
end

-- `name` as the inside of a JSON string.
function M.written(name)
    return (gsub(name, '["\\]', "\\%0"))
end

-- The compiler keeps the way through `scan` that it sees first. That must be the plain one, not one that a caller
-- chose.
M.find('{"text":"' .. rep("a", 1000) .. '"}')

return M
