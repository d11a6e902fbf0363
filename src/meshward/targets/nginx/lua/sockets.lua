-- This worker's TCP connections, by their descriptors: whom each leads to.

local ffi = require "ffi"

ffi.cdef [[
int getpeername(int fd, void *addr, unsigned int *size);
int getsockname(int fd, void *addr, unsigned int *size);
int shutdown(int fd, int how);
long sysconf(int name);
]]

local C = ffi.C
local OPEN_MAX = 4
local MOST = 20000 -- descriptors that are looked at: more than a worker has connections
local EBADF = 9
local AF_INET, AF_INET6 = 2, 10
local address, size = ffi.new("uint8_t[128]"), ffi.new("unsigned int[1]")
local family = ffi.cast("uint16_t *", address)

-- Address and port of one end of `fd`, as nginx has them; nil for what is no TCP connection, and then whether it is
-- closed.
local function read(get, fd)
    size[0] = 128
    if get(fd, address, size) ~= 0 then
        return nil, ffi.errno() == EBADF
    end
    local port = address[2] * 256 + address[3]
    if family[0] == AF_INET then
        return ffi.string(address + 4, 4), port
    elseif family[0] == AF_INET6 then
        return ffi.string(address + 8, 16), port
    end
end

local M = { READING = 0, BOTH = 2 }

function M.last()
    return math.min(tonumber(C.sysconf(OPEN_MAX)) - 1, MOST)
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
