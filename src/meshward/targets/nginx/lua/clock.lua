-- Seconds that never jump: how long something lasts is no matter of the wall clock, which may be set meanwhile.

local ffi = require "ffi"

ffi.cdef [[
typedef struct { long seconds, nanoseconds; } mw_time;
int clock_gettime(int clock, mw_time *time);
]]

local C, time = ffi.C, ffi.new("mw_time")
local MONOTONIC = 1

local M = {}

function M.now()
    C.clock_gettime(MONOTONIC, time)
    return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

return M
