-- Scans the body in the file that `?file=` names for its model, `?times=` times, as the edge does, and says how long the longest
-- stretch between two pauses was, in milliseconds of this worker's CPU time.
local ffi = require "ffi"
local body_model = require "body_model"

pcall(ffi.cdef, "typedef struct { long s, ns; } mw_time; int clock_gettime(int, mw_time *);")
local THREAD, at = 3, ffi.new("mw_time")

local function milliseconds()
    ffi.C.clock_gettime(THREAD, at)
    return tonumber(at.s) * 1e3 + tonumber(at.ns) / 1e6
end

local file = assert(io.open(ngx.var.arg_file, "rb"))
local body = file:read("*a")
file:close()

local longest, since = 0, 0
local function pause()
    longest = math.max(longest, milliseconds() - since)
    ngx.sleep(0)
    since = milliseconds()
end

local name, problem
for _ = 1, tonumber(ngx.var.arg_times) do
    since = milliseconds()
    _, problem, name = body_model.find(body, "application/json", pause)
    longest = math.max(longest, milliseconds() - since)
end
ngx.say(string.format('{"name":"%s","longest":%.3f}', name or problem, longest))
