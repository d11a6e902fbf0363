-- The states inside a key at the top level of a JSON object: they compare it with `model` as it passes, escapes
-- included.
--
-- What a key has spelled so far is a prefix of `model` spelled exactly; or `~` and a prefix spelled in another case, or
-- with `-` or `_` somewhere (Go's readers fold both); or `!`, something else for good. Each of these has a state, and a
-- few for its escapes.

local rows = require("json_rows")

local char, format, gsub = string.char, string.format, string.gsub
local lower, sub, upper = string.lower, string.sub, string.upper
local hex, state, to, to_each, to_hex_digits = rows.hex, rows.state, rows.to, rows.to_each, rows.to_hex_digits

-- Taken for `model` whatever else it has: a key with a control character (readers in C stop at a NUL), or with half a
-- surrogate pair (readers drop or replace it).
local ODD_KEY = rows.problem("odd_key")
local MISSPELLED = rows.problem("misspelled")

local function spelled(so_far, character)
    local exact = so_far .. character
    if sub("model", 1, #exact) == exact then
        return exact
    end
    local folded = lower(gsub(so_far, "~", "") .. gsub(character, "[-_]", ""))
    return sub("model", 1, #folded) == folded and "~" .. folded or "!"
end

-- Behind \ud: no surrogate at all, or a high half, which a low half must follow.
local function surrogate(other)
    local row, escape, u, d, low = state(), state(ODD_KEY), state(ODD_KEY), state(ODD_KEY), state(ODD_KEY)
    to_hex_digits(row, ODD_KEY)
    to(row, hex(2, other), "0", "7")
    to_each(row, hex(2, escape), "89abAB")
    to(escape, u, "\\")
    to(u, d, "u")
    to_each(d, low, "dD")
    to_each(low, hex(2, other), "cdefCDEF")
    return row
end

-- Behind \u00 and the digit `high`, after `so_far`.
local function last_digit(so_far, high, character)
    local row = state()
    for low = 0, 15 do
        local digit = format("%x", low)
        character(row, so_far, high * 16 + low, digit)
        character(row, so_far, high * 16 + low, upper(digit))
    end
    return row
end

-- Behind \u, after `so_far`: beyond ASCII, a key is none that could be read as `model`.
local function four_digits(so_far, other, half, character)
    local row, zero, zero_zero = state(), state(), state()
    to_hex_digits(row, hex(3, other))
    to_each(row, half, "dD")
    to(row, zero, "0")
    to_hex_digits(zero, hex(2, other))
    to(zero, zero_zero, "0")
    to_hex_digits(zero_zero, hex(1, other))
    to(zero_zero, hex(1, ODD_KEY), "0", "1")
    for high = 2, 7 do
        to(zero_zero, last_digit(so_far, high, character), format("%d", high))
    end
    return row
end

-- The state at the start of a key; `"` leads from `model` to `model_key`, and from any other that is clearly another to
-- `other_key`.
return function(model_key, other_key)
    local inside, pending = {}, {}
    local function at(so_far)
        if not inside[so_far] then
            inside[so_far] = state()
            pending[#pending + 1] = so_far
        end
        return inside[so_far]
    end
    local function character(row, so_far, code, written)
        to(row, code == 0x7F and ODD_KEY or at(spelled(so_far, char(code))), written)
    end
    local start, other = at(""), at("!")
    local half = surrogate(other)
    while #pending > 0 do
        local so_far = table.remove(pending)
        local row, escape = inside[so_far], state()
        for code = 0x20, 0x7F do
            character(row, so_far, code, code)
        end
        rows.utf8(row, other)
        to(row, so_far == "model" and model_key or so_far == "~model" and MISSPELLED or other_key, '"')
        to(row, escape, "\\")
        to_each(escape, other, '"\\/')
        to_each(escape, ODD_KEY, "bfnrt")
        to(escape, four_digits(so_far, other, half, character), "u")
    end
    return start
end
