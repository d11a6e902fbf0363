-- SHA-256 by nginx's own OpenSSL, in base64.

local ffi = require "ffi"

ffi.cdef [[
typedef struct { unsigned int h[8], Nl, Nh, data[16], num, md_len; } mw_sha256;
int SHA256_Init(mw_sha256 *c);
int SHA256_Update(mw_sha256 *c, const void *data, size_t len);
int SHA256_Final(unsigned char *md, mw_sha256 *c);
]]

local C = ffi.C
local encode_base64 = ngx.encode_base64
local STRETCH = 262144 -- bytes that are hashed before others have their turn: under a millisecond
local context, result = ffi.new("mw_sha256"), ffi.new("unsigned char[32]")

local M = { EMPTY = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }

-- A digest that grows; freed with the answer that it belongs to.
function M.begin()
    local c = ffi.new("mw_sha256")
    C.SHA256_Init(c)
    return c
end

function M.add(c, data)
    C.SHA256_Update(c, data, #data)
end

function M.finish(c)
    C.SHA256_Final(result, c)
    return encode_base64(ffi.string(result, 32))
end

function M.whole(data)
    C.SHA256_Init(context)
    C.SHA256_Update(context, data, #data)
    return M.finish(context)
end

-- The same of what may be large: `pause` lets others have their turn.
function M.large(data, pause)
    local c, bytes, size = M.begin(), ffi.cast("const char *", data), #data
    for at = 0, size - 1, STRETCH do
        C.SHA256_Update(c, bytes + at, math.min(STRETCH, size - at))
        pause()
    end
    return M.finish(c)
end

return M
