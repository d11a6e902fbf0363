-- The grammar of a JSON object (RFC 8259, in strict UTF-8) as one table of states, for `json_model.lua`.
--
-- Readers of JSON agree about text that follows the grammar, and differ about all other. So the whole body is held to
-- it, and the scanner needs no opinion about comments, single quotes, raw line ends or half characters: they have no
-- way through the table. A table costs the same for every byte, whoever chose the bytes; a scanner of branches has
-- inputs that it is slow on.
--
-- `next[state + byte]` is the next state, or from `M.PUSH_OBJECT` up something for the scanner to do. Every string has
-- states of its own for each place that it can stand in, so that its end needs no look at what is around it.

local key = require("json_key")
local rows = require("json_rows")

local sub = string.sub
local between, state, to, to_each = rows.between, rows.state, rows.to, rows.to_each
local NOT_JSON, ABSENT = rows.NOT_JSON, rows.ABSENT

local M = {problems = rows.problems}

-- What the scanner does. From MODEL_KEY up it happens at most a few times in a body.
M.PUSH_OBJECT, M.PUSH_ARRAY, M.POP = rows.ACTIONS, rows.ACTIONS + 1, rows.ACTIONS + 2
M.MODEL_KEY, M.VALUE_STARTS, M.VALUE_ENDS = rows.ACTIONS + 3, rows.ACTIONS + 4, rows.ACTIONS + 5
M.TOO_DEEP = rows.problem("too_deep")

-- Before the object. A body that no reader takes for an object has no model (audio, an array, text). Refused is what
-- some reader may skip on its way to one: control characters, comments, brackets of a program, byte order marks, wide
-- spaces, UTF-7.
local function start(object)
    local row, odd, marks = between(ABSENT), state(ABSENT), state(ABSENT)
    for _, from in ipairs({row, odd}) do
        to(from, odd, 0x00, 0x20)
        to(from, NOT_JSON, "{")
        to_each(from, NOT_JSON, "#()+/\xC2\xE1\xE2\xE3\xEF\xFE")
        to(from, marks, 0xFF)
    end
    to_each(row, row, " \t\r\n")
    to(row, object, "{")
    to(marks, NOT_JSON, 0xFE)
    return row, {[row] = true, [odd] = true, [marks] = true}
end

-- The inside of a string, which `"` leaves for `after`.
local function text(after)
    local row, escape = state(), state()
    to(row, row, 0x20, 0x7F)
    to(row, after, '"')
    to(row, escape, "\\")
    rows.utf8(row, row)
    to_each(escape, row, '"\\/bfnrt')
    to(escape, rows.hex(4, row), "u")
    return row
end

local function literal(row, word, after)
    for i = #word, 2, -1 do
        local rest = state()
        to(rest, after, sub(word, i, i))
        after = rest
    end
    to(row, after, sub(word, 1, 1))
end

-- A number ends where something follows that may follow a value: `after`.
local function number(row, after)
    local minus, zero, whole, point, fraction = state(), state(), state(), state(), state()
    local e, sign, exponent = state(), state(), state()
    for _, digits in ipairs({zero, whole, fraction, exponent}) do
        rows.to_like(digits, after)
    end
    to(row, minus, "-")
    for _, from in ipairs({row, minus}) do
        to(from, zero, "0")
        to(from, whole, "1", "9")
    end
    to(whole, whole, "0", "9")
    to(zero, point, ".")
    to(whole, point, ".")
    for _, from in ipairs({point, fraction}) do
        to(from, fraction, "0", "9")
    end
    for _, from in ipairs({zero, whole, fraction}) do
        to_each(from, e, "eE")
    end
    to_each(e, sign, "+-")
    for _, from in ipairs({e, sign, exponent}) do
        to(from, exponent, "0", "9")
    end
end

-- From `row`, a value leads to `after`, whose own entries must be complete.
local function value(row, after)
    to(row, text(after), '"')
    to(row, M.PUSH_OBJECT, "{")
    to(row, M.PUSH_ARRAY, "[")
    literal(row, "true", after)
    literal(row, "false", after)
    literal(row, "null", after)
    number(row, after)
end

-- From behind `{`: the first state, and the one behind a member. `name` makes the inside of a key, `closed` is where
-- `}` leads.
local function object(name, closed)
    local first, next_key, colon, member, after = between(), between(), between(), between(), between()
    local inside = name(colon)
    to(first, inside, '"')
    to(first, closed, "}")
    to(next_key, inside, '"')
    to(colon, member, ":")
    to(after, next_key, ",")
    to(after, closed, "}")
    value(member, after)
    return first, after
end

local function array()
    local first, element, after = between(), between(), between()
    to(after, element, ",")
    to(after, M.POP, "]")
    value(first, after)
    to(first, M.POP, "]")
    value(element, after)
    return first, after
end

local function model_value()
    local colon, member = between(), between()
    to(colon, member, ":")
    to_each(member, rows.problem("not_plain"), "{[-0123456789tfn")
    to(member, M.VALUE_STARTS, '"')
    return colon, text(M.VALUE_ENDS)
end

local function top_key(colon)
    return key(M.MODEL_KEY, colon)
end

local top
M.ENDED = between(rows.problem("after_end"))
top, M.AFTER_TOP = object(top_key, M.ENDED)
M.START, M.not_started = start(top)
M.MODEL_COLON, M.MODEL_TEXT = model_value()
M.OBJECT, M.AFTER_OBJECT = object(text, M.POP)
M.ARRAY, M.AFTER_ARRAY = array()

M.next = rows.entries

return M
