-- Which model the body of a request names, and another name in its place: for JSON and for multipart forms.
--
-- The caller is permitted the model that is found here, and the model server finds it again with a reader of its own.
-- So where two readers could find different ones, nothing is found, and the word that is returned says why
-- (`body_problems.lua`).

local form_model = require("form_model")
local json_model = require("json_model")
local plain_name = require("plain_name")

local byte, find, gsub, lower, sub = string.byte, string.find, string.gsub, string.lower, string.sub
local QUOTE = byte('"')

local M = {}

-- Whether readers that follow the `charset` read UTF-8: some know UTF-7 and UTF-16, where other bytes spell `model`.
local function is_utf8(kind)
    local rest = gsub(kind .. ";", '; *charset="?utf%-?8"? *;', ";", 1)
    return not find(rest, "charset", 1, true)
end

-- `from, to, name`: the positions of the name as the body spells it, and what that means; or nil and a problem word.
-- `pause` is called every so often, for others' requests to go on.
function M.find(body, content_type, pause)
    local kind = lower(content_type or "")
    if find(kind, "multipart", 1, true) then
        return form_model.find(body, content_type, pause)
    elseif find(kind, "urlencoded", 1, true) then
        return nil, "form_urlencoded"
    elseif not is_utf8(kind) then
        return nil, "encoding"
    end
    return json_model.find(body, pause)
end

-- The body with `name` where `find` found one: in JSON that stands between quotes, in a form behind the end of a line.
function M.put(body, from, to, name)
    assert(plain_name(name), "not the name of a model")
    if byte(body, from - 1) == QUOTE then
        name = json_model.written(name)
    end
    return sub(body, 1, from - 1) .. name .. sub(body, to + 1)
end

return M
