-- Leaves the model of an answer that was ended before its end. nginx goes on to read what nobody gets, unless the
-- client leaves; so to nginx it has left: nothing more is read from its connection. What was written still arrives.

local ffi = require "ffi"

ffi.cdef [[
int getpeername(int fd, void *addr, unsigned int *size);
int getsockname(int fd, void *addr, unsigned int *size);
int shutdown(int fd, int how);
long sysconf(int name);
]]

local C = ffi.C
local SHUT_RD, OPEN_MAX = 0, 4
local MOST = 20000 -- descriptors that are looked at: more than a worker has connections
local AF_INET, AF_INET6 = 2, 10
local address, size = ffi.new("uint8_t[128]"), ffi.new("unsigned int[1]")
local family = ffi.cast("uint16_t *", address)

-- Port and address of one end of `fd`, as nginx has them; nil for what is no TCP socket.
local function of(get, fd)
    size[0] = 128
    if get(fd, address, size) ~= 0 then
        return nil
    end
    local port = address[2] * 256 + address[3]
    if family[0] == AF_INET then
        return port, ffi.string(address + 4, 4)
    elseif family[0] == AF_INET6 then
        return port, ffi.string(address + 8, 16)
    end
end

local M = {}

-- Hangs up on whoever is connected from `peer` and `peer_port` to our `port`. Only one connection can be.
function M.on(peer, peer_port, port)
    for fd = 3, math.min(tonumber(C.sysconf(OPEN_MAX)) - 1, MOST) do
        local found, from = of(C.getpeername, fd)
        if found == peer_port and from == peer and of(C.getsockname, fd) == port then
            return C.shutdown(fd, SHUT_RD) == 0
        end
    end
    return false
end

return M
