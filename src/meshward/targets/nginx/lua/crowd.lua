-- How much one address may have of this worker: requests under way, and handshakes in a time. (Its connections are
-- counted in held.lua.) An IPv6 address counts with its /64, of which a stranger has as many as he likes.

local recent = require "recent"
local settings = require "settings"

local find, sub, format, gsub = string.find, string.sub, string.format, string.gsub
local now = ngx.now

-- Of how many the handshakes are remembered, twice: 3 MB. Who has more of them gains nothing when one is forgotten:
-- each of the others has its burst as well.
local ADDRESSES = 8192

local open = {} -- requests under way, by whom
local buckets = recent.new(ADDRESSES)

local function hex(bytes)
    return (gsub(bytes, ".", function(c)
        return format("%02x", string.byte(c))
    end))
end

local M = {}

-- Whom an address of 4 or 16 bytes is counted as: 4 or 8 of them.
function M.whose(bytes)
    if #bytes == 4 then
        return bytes
    end
    if sub(bytes, 1, 12) == "\0\0\0\0\0\0\0\0\0\0\255\255" then -- IPv4, by a socket that takes both
        return sub(bytes, 13)
    end
    return sub(bytes, 1, 8)
end

-- Whom this request is counted as: printable, as it also stands in a header.
function M.net()
    local address = ngx.var.remote_addr
    if find(address, ".", 1, true) then
        return address
    end
    return hex(M.whose(ngx.var.binary_remote_addr))
end

-- One more request of `net`; false, and none more, where that are too many.
function M.enter(net)
    local count = open[net] or 0
    if count >= settings.open_per_address then
        return false
    end
    open[net] = count + 1
    return true
end

function M.leave(net)
    local count = open[net]
    open[net] = count > 1 and count - 1 or nil
end

-- Whether the address `bytes` may have one more handshake now: a bucket that refills.
function M.handshake(bytes)
    local net, at = M.whose(bytes), now()
    local bucket = buckets:get(net)
    if not bucket then
        bucket = { left = settings.handshake_burst, at = at, size = 1 }
        buckets:put(net, bucket)
    end
    local left = bucket.left + math.max(at - bucket.at, 0) * settings.handshake_rate
    bucket.left, bucket.at = math.min(left, settings.handshake_burst), at
    if bucket.left < 1 then
        return false
    end
    bucket.left = bucket.left - 1
    return true
end

return M
