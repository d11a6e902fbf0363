-- nginx' variables as bytes in nginx' own memory. What a stranger chose becomes no Lua string: Lua keeps each string
-- once and finds it by a hash that some builds let strangers collide (CVE-2024-39702), so each one more costs more.

local base = require "resty.core.base"
local ffi = require "ffi"
require "resty.core.var" -- declares what is called here

local C = ffi.C
local get_request, get_string_buf = base.get_request, base.get_string_buf
local OK = 0
local bytes, length, problem = ffi.new("unsigned char *[1]"), ffi.new("size_t[1]"), ffi.new("char *[1]")

local M = {}

-- Where the value of the variable `name` is, and how many bytes it has: none where there is none. Good until another is
-- asked for, or the request goes on.
function M.get(name)
    local room = get_string_buf(#name)
    if C.ngx_http_lua_ffi_var_get(get_request(), name, #name, room, 0, bytes, length, problem) ~= OK then
        return nil, 0
    end
    return bytes[0], tonumber(length[0])
end

-- Whether there is such a variable, be it empty: to nginx, a header without a value is one all the same.
function M.has(name)
    return M.get(name) ~= nil
end

return M
