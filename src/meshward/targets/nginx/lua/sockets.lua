-- This worker's TCP connections, by their descriptors: whom each leads to.

local ffi = require "ffi"

ffi.cdef [[
int getpeername(int fd, void *addr, unsigned int *size);
int getsockname(int fd, void *addr, unsigned int *size);
int shutdown(int fd, int how);
]]

local C = ffi.C
local MOST = 20000 -- descriptors that are looked at: more than a worker has connections
local AF_INET, AF_INET6 = 2, 10
local address, size = ffi.new("uint8_t[128]"), ffi.new("unsigned int[1]")
local family = ffi.cast("uint16_t *", address)

-- Address and port of one end of `fd`, as nginx has them; nil for what is no TCP connection.
local function read(get, fd)
    size[0] = 128
    if get(fd, address, size) ~= 0 then
        return nil
    end
    local port = address[2] * 256 + address[3]
    if family[0] == AF_INET then
        return ffi.string(address + 4, 4), port
    elseif family[0] == AF_INET6 then
        return ffi.string(address + 8, 16), port
    end
end

local M = { READING = 0, BOTH = 2 }

-- No descriptor behind this one is open: the kernel's table of them has so many places, and grows with need alone. (One
-- that stopped where many in a row are closed would miss what is behind them, and whoever closes his own makes such a
-- gap.)
function M.last()
    local file = io.open("/proc/self/status", "rb")
    if not file then
        return MOST
    end
    local places = string.match(file:read("*a"), "\nFDSize:%s*(%d+)")
    file:close()
    return math.min((tonumber(places) or MOST) - 1, MOST)
end

function M.peer(fd)
    return read(C.getpeername, fd)
end

function M.own(fd)
    return read(C.getsockname, fd)
end

-- `how`: the side that is shut. nginx is told as if the peer had done it. Whether it was open.
function M.shut(fd, how)
    return C.shutdown(fd, how) == 0
end

return M
