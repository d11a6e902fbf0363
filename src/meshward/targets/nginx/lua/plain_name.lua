-- Whether a text can be the name of a model: 1 to 256 printable characters in well-formed UTF-8.

local find, gsub = string.find, string.gsub

-- Every printable character becomes one dot, from `.` and the start of each sequence of Unicode's table 3-7; what is
-- left is not plain.
local PRINTABLE = {
    "[\32-\126]",
    "\194[\160-\191]",                                         -- no C1 controls
    "[\195-\223][\128-\191]",
    "\224[\160-\191][\128-\191]",
    "[\225-\236\238\239][\128-\191][\128-\191]",
    "\237[\128-\159][\128-\191]",
    "\240[\144-\191][\128-\191][\128-\191]",
    "[\241-\243][\128-\191][\128-\191][\128-\191]",
    "\244[\128-\143][\128-\191][\128-\191]",
}
local MOST_BYTES, MOST = 1024, 256

return function(text)
    if #text == 0 or #text > MOST_BYTES then
        return false
    end
    for i = 1, #PRINTABLE do
        text = gsub(text, PRINTABLE[i], ".")
    end
    return #text <= MOST and not find(text, "[^.]")
end
