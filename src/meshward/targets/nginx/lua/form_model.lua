-- The model that a multipart/form-data body names: the one part that any reader of forms could take for the field
-- `model`.
--
-- Readers of multipart differ about nearly everything that a writer need not do: text before the first boundary, bare
-- line feeds, folded or unknown header lines, escapes in names, transfer encodings, padded boundaries. So a body has
-- the one shape that clients write, and whatever else could be a boundary or a name is refused.

local ffi = require("ffi")
local plain_name = require("plain_name")

local find, gmatch, gsub = string.find, string.gmatch, string.gsub
local lower, match, sub = string.lower, string.match, string.sub
local min = math.min

ffi.cdef("void *memmem(const void *haystack, size_t length, const void *needle, size_t needle_length);")

local WINDOW = 65536                                           -- of a search, which passes it in 0.1 ms at most
local STRETCH = 16384                                          -- of parts, each of which takes some microseconds
local LONGEST_NAME = 1024
local LONGEST_HEAD = 4096                                      -- of a part, with the empty line

local M = {}

-- The boundary of a Content-Type that is spelled as clients spell it.
local function boundary_of(content_type)
    local rest = match(content_type, "^multipart/form%-data; *boundary=(.*)$")
    local boundary = rest and (match(rest, "^([%w._-]+)$") or match(rest, '^"([%w._=+\'-]+)"$'))
    return boundary and #boundary <= 70 and boundary
end

-- Where `mark` begins at `from` or later, or nil; in windows, between which `pause` is called.
local function position(body, mark, from, pause)
    local start = ffi.cast("const char *", body)
    local at = from - 1
    while at < #body do
        local length = min(WINDOW + #mark - 1, #body - at)
        local found = ffi.C.memmem(start + at, length, mark, #mark)
        if found ~= nil then
            return tonumber(ffi.cast("const char *", found) - start) + 1
        end
        at = at + WINDOW
        pause()
    end
    return nil
end

local DISPOSITION = '^Content%-Disposition: form%-data; name="([%w._%[%]-]+)"(.*)$'
local FILE_NAME = '^; filename="[^%z\1-\31\127"\\;]*"$'
local PARAMETERS = '^[%w ;="/._+-]*$'
local CONTENT_TYPE = "^Content%-Type: ([%w!#$&^_.+-]+/[%w!#$&^_.+-]+)(.*)$"

-- The name of a part, whether it is a file, and its type, from the lines of its head; or nil: a line is not as clients
-- write it.
local function read_head(head)
    local name, file, kind
    for line in gmatch(head, "(.-)\r\n") do
        local named, rest = match(line, DISPOSITION)
        local typed, parameters = match(line, CONTENT_TYPE)
        if named and not name and (rest == "" or find(rest, FILE_NAME)) then
            name, file = named, rest ~= ""
        elseif typed and not kind and find(parameters, PARAMETERS) and not find(lower(typed), "^multipart/") then
            kind = lower(typed .. gsub(parameters, "[ \"]", ""))
        else
            return nil
        end
    end
    return name, file, kind
end

-- Whether some reader of forms takes `name` for the field `model`: they fold case, drop what is in brackets, or mend
-- separators.
local function like_model(name)
    return gsub(match(lower(name), "^[%[%]]*([^%[%]]*)"), "[._-]", "") == "model"
end

local TEXT = {["text/plain"] = true, ["text/plain;charset=utf-8"] = true}

-- What one part is: true for the model's, false for any other; or nil and a problem word.
local function is_model(head)
    local name, file, kind = read_head(head)
    if not name or lower(name) == "_charset_" then
        return nil, "form_head"
    elseif not like_model(name) then
        return false
    elseif name ~= "model" then
        return nil, "misspelled"
    elseif file or kind and not TEXT[kind] then
        return nil, "form_file"
    end
    return true
end

-- Where the head of the part from `from` to before `stop` ends: its text, and the first position behind it.
local function head_of(body, from, stop)
    local start = sub(body, from, min(from + LONGEST_HEAD, stop) - 1)
    local last = find(start, "\r\n\r\n", 1, true)
    if last then
        return sub(start, 1, last + 1), from + last + 3
    end
end

-- What stands behind a boundary: true for a part, false for the body's end; or nil.
local function goes_on(body, behind)
    local two = sub(body, behind, behind + 1)
    if two == "\r\n" then
        return true
    elseif two == "--" and (behind + 1 == #body or sub(body, behind + 2, behind + 4) == "\r\n") then
        return false
    end
end

-- Where the body names its model (the positions of the field's value, and the name), or nil and a problem word.
function M.find(body, content_type, pause)
    local boundary = boundary_of(content_type)
    if not boundary then
        return nil, "form_boundary"
    end
    local mark = "--" .. boundary
    local from, to
    local paused, behind = 1, 1 + #mark
    if sub(body, 1, #mark) ~= mark then
        return nil, "form_shape"
    end
    local more = goes_on(body, behind)
    while more do
        local next_mark = position(body, mark, behind, pause)
        if not next_mark or sub(body, next_mark - 2, next_mark - 1) ~= "\r\n" then
            return nil, "form_shape"
        end
        local head, inside = head_of(body, behind + 2, next_mark - 2)
        if not head then
            return nil, "form_head"
        end
        local wanted, problem = is_model(head)
        if problem then
            return nil, problem
        elseif wanted and from then
            return nil, "twice"
        elseif wanted then
            from, to = inside, next_mark - 3
        end
        behind = next_mark + #mark
        more = goes_on(body, behind)
        if behind > paused + STRETCH then
            paused = behind
            pause()
        end
    end
    if more == nil then
        return nil, "form_shape"
    end
    if not from then
        return nil, "absent"
    end
    local name = to - from < LONGEST_NAME and sub(body, from, to)
    if not name or not plain_name(name) then
        return nil, "not_plain"
    end
    return from, to, name
end

return M
