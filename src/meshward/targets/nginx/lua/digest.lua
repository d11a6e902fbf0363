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

-- A digest that is begun and finished without a pause: there is one such at a time.
function M.begin_shared()
    C.SHA256_Init(context)
    return context
end

function M.add(c, data)
    C.SHA256_Update(c, data, #data)
end

function M.add_bytes(c, bytes, size)
    C.SHA256_Update(c, bytes, size)
end

-- The 32 bytes themselves.
function M.finish_raw(c)
    C.SHA256_Final(result, c)
    return ffi.string(result, 32)
end

function M.finish(c)
    return encode_base64(M.finish_raw(c))
end

function M.whole(data)
    local c = M.begin_shared()
    M.add(c, data)
    return M.finish(c)
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
