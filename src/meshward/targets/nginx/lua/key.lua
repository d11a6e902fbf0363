-- The name under which a decision is remembered: SHA-256 over the bytes of everything that it depends on, each with
-- its length before it, begun with a secret of this worker. Two questions have one name only if SHA-256 collides, and
-- nobody outside can choose a name.

local digest = require "digest"
local ffi = require "ffi"
local raw = require "raw"

ffi.cdef [[
void *memchr(const void *s, int c, size_t n);
int RAND_bytes(unsigned char *buf, int num);
]]

local C = ffi.C
local QUERY, VERSION = 63, 9 -- "?"; bytes of " HTTP/1.1"
local PARTS = { "http_host", "remote_addr", "ssl_client_verify", "ssl_client_escaped_cert", "http_authorization" }

local secret = ffi.new("unsigned char[32]")
local drawn = false
local number = ffi.new("uint64_t[1]")

-- Not before there are workers: each has its own.
local function draw()
    if C.RAND_bytes(secret, 32) ~= 1 then
        error("no randomness", 0)
    end
    drawn = true
end

local function add_number(c, value)
    number[0] = value
    digest.add_bytes(c, number, 8)
end

local function add(c, bytes, size)
    add_number(c, size)
    if size > 0 then
        digest.add_bytes(c, bytes, size)
    end
end

-- The request line without its query, which is no part of a decision. Whether it had one.
local function add_line(c)
    local line, size = raw.get("request")
    local query = size > 0 and C.memchr(line, QUERY, size) or nil
    if query == nil then
        add(c, line, size)
        return false
    end
    local head = tonumber(ffi.cast("unsigned char *", query) - line)
    local tail = math.min(VERSION, size - head)
    add_number(c, head + tail)
    digest.add_bytes(c, line, head)
    digest.add_bytes(c, line + size - tail, tail)
    return true
end

local M = {}

-- The name, under `epoch`, of the question that this request puts; and whether its target has a query.
function M.of_request(epoch)
    if not drawn then
        draw()
    end
    local c = digest.begin_shared()
    digest.add_bytes(c, secret, 32)
    add_number(c, epoch)
    local has_query = add_line(c)
    for i = 1, #PARTS do
        add(c, raw.get(PARTS[i]))
    end
    return digest.finish_raw(c), has_query
end

-- The name of the same question about the model `name`, which the body says.
function M.about(key, name)
    local c = digest.begin_shared()
    digest.add_bytes(c, secret, 32)
    digest.add_bytes(c, key, 32)
    digest.add_bytes(c, name, #name)
    return digest.finish_raw(c)
end

return M
