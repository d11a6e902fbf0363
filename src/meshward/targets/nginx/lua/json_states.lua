-- The grammar of a JSON object (RFC 8259, strict UTF-8), as one table of states for `json_model.lua`.
--
-- Readers of JSON agree about text that follows the grammar, and differ about all other. So the whole body is held to it, and the
-- scanner needs no opinion about comments, single quotes, raw newlines or half characters: they have no way through the table.
-- A table costs the same for every byte, whoever chose the bytes; a scanner of branches has inputs that it is slow on.
--
-- `next[state + byte]` is the next state (a multiple of 256), or from `M.PUSH_OBJECT` up something for the scanner to do.
-- Every string has states of its own for each place that it can stand in, so that its end needs no look at what is around it.
-- Keys at the top level are compared with `model` by their states, escapes included: see `key`.

local ffi = require("ffi")
local byte, char, gsub, lower, sub = string.byte, string.char, string.gsub, string.lower, string.sub

local M = {}
local next_state = {}                                          -- becomes M.next, whose integers the compiler reads faster
local rows = 0

-- What the scanner does, beyond every state. From MODEL_KEY up it happens at most a few times in a body.
local ACTIONS = 2 ^ 20
M.PUSH_OBJECT, M.PUSH_ARRAY, M.POP = ACTIONS, ACTIONS + 1, ACTIONS + 2
M.MODEL_KEY, M.VALUE_STARTS, M.VALUE_ENDS = ACTIONS + 3, ACTIONS + 4, ACTIONS + 5
M.problems = {}
local problems = 0

local function problem(word)
    problems = problems + 1
    local action = ACTIONS + 16 + problems
    M.problems[action] = word
    return action
end

local NOT_JSON = problem("not_json")
local NOT_UTF8 = problem("not_utf8")
local AFTER_END = problem("after_end")
local ODD_KEY = problem("odd_key")
local MISSPELLED = problem("misspelled")
local NOT_PLAIN = problem("not_plain")
local ABSENT = problem("absent")
M.TOO_DEEP = problem("too_deep")

-- A new state, which every byte leaves by `otherwise`.
local function state(otherwise)
    local row = rows * 256
    for b = 0, 255 do
        next_state[row + b] = otherwise
    end
    rows = rows + 1
    return row
end

-- From `row`, the bytes from `first` to `last` (characters, or numbers) lead to `target`.
local function to(row, target, first, last)
    first = type(first) == "string" and byte(first) or first
    last = type(last) == "string" and byte(last) or last or first
    for b = first, last do
        next_state[row + b] = target
    end
end

local function to_each(row, target, characters)
    for i = 1, #characters do
        to(row, target, sub(characters, i, i))
    end
end

-- A state between tokens: whitespace stays in it.
local function between(otherwise)
    local row = state(otherwise or NOT_JSON)
    to_each(row, row, " \t\r\n")
    return row
end

local function hex_digits(row, target)
    to(row, target, "0", "9")
    to(row, target, "A", "F")
    to(row, target, "a", "f")
end

-- A state where exactly `count` hex digits follow, then `target`.
local function hex(count, target)
    for _ = 1, count do
        local row = state(NOT_JSON)
        hex_digits(row, target)
        target = row
    end
    return target
end

-- The bytes of `row` above ASCII: one character of well-formed UTF-8 (Unicode, table 3-7), then `target`.
local function utf8(row, target)
    local function tail(following, first, last)
        local tail_row = state(NOT_UTF8)
        to(tail_row, following, first or 0x80, last or 0xBF)
        return tail_row
    end
    local one = tail(target)
    local two = tail(one)
    local three = tail(two)
    to(row, NOT_UTF8, 0x80, 0xFF)
    to(row, one, 0xC2, 0xDF)
    to(row, two, 0xE0, 0xEF)
    to(row, tail(one, 0xA0, 0xBF), 0xE0)
    to(row, tail(one, 0x80, 0x9F), 0xED)                       -- no halves of surrogate pairs
    to(row, three, 0xF1, 0xF3)
    to(row, tail(two, 0x90, 0xBF), 0xF0)
    to(row, tail(two, 0x80, 0x8F), 0xF4)
end

-- The inside of a string, which `"` leaves for `after`.
local function text(after)
    local row, escape = state(NOT_JSON), state(NOT_JSON)
    to(row, row, 0x20, 0x7F)
    to(row, after, '"')
    to(row, escape, "\\")
    utf8(row, row)
    to_each(escape, row, '"\\/bfnrt')
    to(escape, hex(4, row), "u")
    return row
end

-- Also lets a value start in `row`; what may follow it is what may follow in `after`.
local function value(row, after)
    to(row, text(after), '"')
    to(row, M.PUSH_OBJECT, "{")
    to(row, M.PUSH_ARRAY, "[")
    for word in ("true false null"):gmatch("%a+") do
        local target = after
        for i = #word, 2, -1 do
            local letter = state(NOT_JSON)
            to(letter, target, sub(word, i, i))
            target = letter
        end
        to(row, target, sub(word, 1, 1))
    end
    local function like_after(digits)
        for b = 0, 127 do
            next_state[digits + b] = next_state[after + b]
        end
    end
    local minus, zero, whole, point, fraction = state(NOT_JSON), state(NOT_JSON), state(NOT_JSON), state(NOT_JSON), state(NOT_JSON)
    local e, sign, exponent = state(NOT_JSON), state(NOT_JSON), state(NOT_JSON)
    for _, digits in ipairs({zero, whole, fraction, exponent}) do
        like_after(digits)
    end
    to(row, minus, "-")
    for _, start in ipairs({row, minus}) do
        to(start, zero, "0")
        to(start, whole, "1", "9")
    end
    to(whole, whole, "0", "9")
    for _, digits in ipairs({zero, whole}) do
        to(digits, point, ".")
    end
    for _, digits in ipairs({point, fraction}) do
        to(digits, fraction, "0", "9")
    end
    for _, digits in ipairs({zero, whole, fraction}) do
        to_each(digits, e, "eE")
    end
    to_each(e, sign, "+-")
    for _, digits in ipairs({e, sign, exponent}) do
        to(digits, exponent, "0", "9")
    end
end

-- Before the object. A body that no reader takes for an object has no model (audio, an array, text). Refused is what some reader may
-- skip on its way to one: control characters, comments, brackets of a program, byte order marks, wide spaces, UTF-7.
local function start(object)
    local row, odd, marks = between(ABSENT), state(ABSENT), state(ABSENT)
    for _, from in ipairs({row, odd}) do
        to_each(from, NOT_JSON, "#()+/\xC2\xE1\xE2\xE3\xEF\xFE")
        to(from, marks, 0xFF)
    end
    to(row, odd, 0, 0x20)
    to_each(row, row, " \t\r\n")
    to(row, object, "{")
    to(odd, odd, 0, 0x20)
    to(odd, NOT_JSON, "{")
    to(marks, NOT_JSON, 0xFE)
    return row, {[row] = true, [odd] = true, [marks] = true}
end

-- Below the top level: an object or an array, from behind its bracket.
local function object_inside()
    local first, key, colon, member, after = between(), between(), between(), between(), between()
    local name = text(colon)
    to(first, name, '"')
    to(first, M.POP, "}")
    to(key, name, '"')
    to(colon, member, ":")
    to(after, key, ",")
    to(after, M.POP, "}")
    value(member, after)
    return first, after
end

local function array_inside()
    local first, element, after = between(), between(), between()
    to(after, element, ",")
    to(after, M.POP, "]")
    value(first, after)
    to(first, M.POP, "]")
    value(element, after)
    return first, after
end

-- How much of `model` a key has spelled: a prefix of it spelled exactly, or `~` and a prefix in another case or with `-` or `_`
-- between (Go's readers fold both), or `!`: something else, for good.
local function spelled(so_far, character)
    local exact = so_far .. character
    if sub("model", 1, #exact) == exact then
        return exact
    end
    local folded = lower(gsub(so_far, "~", "") .. gsub(character, "[-_]", ""))
    return sub("model", 1, #folded) == folded and "~" .. folded or "!"
end

-- The inside of a key at the top level. What it spells is what its escapes mean; one with a control character (readers in C stop at
-- a NUL) or with half a surrogate pair (readers drop or replace it) may be taken for `model` whatever else it has.
local function key(model, other)
    local inside = setmetatable({}, {__index = function(rest, so_far)
        rest[so_far] = state(NOT_JSON)
        return rest[so_far]
    end})
    local nothing = inside["!"]
    -- Behind \ud: no surrogate at all, or a high half, which a low half must follow.
    local surrogate, low_escape, low_u, low_d, low_half = state(NOT_JSON), state(ODD_KEY), state(ODD_KEY), state(ODD_KEY), state(ODD_KEY)
    hex_digits(surrogate, ODD_KEY)
    to(surrogate, hex(2, nothing), "0", "7")
    local high_half = hex(2, low_escape)
    to_each(surrogate, high_half, "89abAB")
    to(low_escape, low_u, "\\")
    to(low_u, low_d, "u")
    to_each(low_d, low_half, "dD")
    to_each(low_half, hex(2, nothing), "cdefCDEF")

    local pending, done = {""}, {}
    local function go(row, so_far, code, first, last)
        local target = spelled(so_far, char(code))
        if not done[target] then
            done[target] = true
            pending[#pending + 1] = target
        end
        to(row, inside[target], first, last)
    end
    local function four(so_far)                                -- \u and four digits
        local row = state(NOT_JSON)
        hex_digits(row, hex(3, nothing))
        to_each(row, surrogate, "dD")
        local zero, zero_zero = state(NOT_JSON), state(NOT_JSON)
        to(row, zero, "0")
        hex_digits(zero, hex(2, nothing))
        to(zero, zero_zero, "0")
        hex_digits(zero_zero, hex(1, nothing))
        to(zero_zero, hex(1, ODD_KEY), "0", "1")
        for high = 2, 7 do
            local last = state(NOT_JSON)
            for low = 0, 15 do
                local code, digit = high * 16 + low, ("%x"):format(low)
                for _, written in ipairs({digit, digit:upper()}) do
                    go(last, so_far, code, written)
                end
            end
            to(zero_zero, last, ("%d"):format(high))
        end
        return row
    end
    while #pending > 0 do
        local so_far = table.remove(pending)
        done[so_far] = true
        local row, escape = inside[so_far], state(NOT_JSON)
        for code = 0x20, 0x7E do
            go(row, so_far, code, code)
        end
        to(row, ODD_KEY, 0x7F)
        to(row, so_far == "model" and model or so_far == "~model" and MISSPELLED or other, '"')
        to(row, escape, "\\")
        utf8(row, nothing)
        to_each(escape, ODD_KEY, "bfnrt")
        to_each(escape, nothing, '"\\/')
        to(escape, four(so_far), "u")
    end
    return inside[""]
end

local function top()
    local first, next_key, colon, member, after = between(), between(), between(), between(), between()
    local ended = between(AFTER_END)
    local name = key(M.MODEL_KEY, colon)
    to(first, name, '"')
    to(first, ended, "}")
    to(next_key, name, '"')
    to(colon, member, ":")
    to(after, next_key, ",")
    to(after, ended, "}")
    value(member, after)
    return first, after, ended
end

local function model_value()
    local colon, member = between(), between()
    to(colon, member, ":")
    to_each(member, NOT_PLAIN, "{[-0123456789tfn")
    to(member, M.VALUE_STARTS, '"')
    return colon, text(M.VALUE_ENDS)
end

local first
first, M.AFTER_TOP, M.ENDED = top()
M.START, M.not_started = start(first)
M.MODEL_COLON, M.MODEL_TEXT = model_value()
M.OBJECT, M.AFTER_OBJECT = object_inside()
M.ARRAY, M.AFTER_ARRAY = array_inside()

M.next = ffi.new("int32_t[?]", rows * 256)
for i = 0, rows * 256 - 1 do
    M.next[i] = next_state[i]
end

return M
