-- The table that `json_states.lua` and `json_key.lua` fill: 256 entries for each state, and how a few kinds of states
-- are made.
--
-- A state is the number of its first entry, so that `entries[state + byte]` is what follows. Entries from `M.ACTIONS`
-- up are not states. They are no Lua table: the collector would go through all of one, again and again.

local ffi = require("ffi")

local byte, sub = string.byte, string.sub
local MOST = 512                                               -- states: half a megabyte

local M = {entries = ffi.new("int32_t[?]", MOST * 256), problems = {}, ACTIONS = 2 ^ 20}
local entries = M.entries
local states, problems = 0, 0

-- An entry that ends the scan with a problem's word.
local function problem(word)
    problems = problems + 1
    local action = M.ACTIONS + 16 + problems
    M.problems[action] = word
    return action
end

M.NOT_JSON, M.NOT_UTF8, M.ABSENT = problem("not_json"), problem("not_utf8"), problem("absent")
M.problem = problem

-- A new state, which every byte leaves for `otherwise` (or for NOT_JSON).
function M.state(otherwise)
    assert(states < MOST, "too many states")
    local row = states * 256
    for b = 0, 255 do
        entries[row + b] = otherwise or M.NOT_JSON
    end
    states = states + 1
    return row
end

-- From `row`, the bytes from `first` to `last` (characters or numbers) lead to `target`.
function M.to(row, target, first, last)
    first = type(first) == "string" and byte(first) or first
    last = type(last) == "string" and byte(last) or last or first
    for b = first, last do
        entries[row + b] = target
    end
end

local state, to = M.state, M.to

function M.to_each(row, target, characters)
    for i = 1, #characters do
        to(row, target, sub(characters, i, i))
    end
end

function M.to_hex_digits(row, target)
    M.to_each(row, target, "0123456789ABCDEFabcdef")
end

-- From `row`, ASCII leads to where it leads from `model`.
function M.to_like(row, model)
    for b = 0, 127 do
        entries[row + b] = entries[model + b]
    end
end

-- A state between tokens: whitespace stays in it.
function M.between(otherwise)
    local row = state(otherwise)
    M.to_each(row, row, " \t\r\n")
    return row
end

-- A state that `count` hex digits lead from to `target`.
function M.hex(count, target)
    for _ = 1, count do
        local row = state()
        M.to_hex_digits(row, target)
        target = row
    end
    return target
end

-- From `row`, one character beyond ASCII in well-formed UTF-8 (Unicode, table 3-7) leads to `target`.
function M.utf8(row, target)
    local function tail(following, first, last)
        local one = state(M.NOT_UTF8)
        to(one, following, first or 0x80, last or 0xBF)
        return one
    end
    local last = tail(target)
    local last_two = tail(last)
    to(row, M.NOT_UTF8, 0x80, 0xFF)
    to(row, last, 0xC2, 0xDF)
    to(row, last_two, 0xE0, 0xEF)
    to(row, tail(last, 0xA0, 0xBF), 0xE0)
    to(row, tail(last, 0x80, 0x9F), 0xED)                      -- no halves of surrogate pairs
    to(row, tail(last_two), 0xF1, 0xF3)
    to(row, tail(last_two, 0x90, 0xBF), 0xF0)
    to(row, tail(last_two, 0x80, 0x8F), 0xF4)
end

return M
