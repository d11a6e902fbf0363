-- The same bytes for every request, from the file that BENCH_REQUEST names; the result as one line of JSON.
-- BENCH_SENT names a file of 8 bytes: how many requests were sent so far stands in it, for who stops and continues wrk.
local file = assert(io.open(os.getenv("BENCH_REQUEST"), "rb"))
local raw = file:read("*a")
file:close()

local sent
if os.getenv("BENCH_SENT") then
  local ffi = require("ffi")
  ffi.cdef("int open(const char *, int); void *mmap(void *, size_t, int, int, int, long);")
  local READ_WRITE, SHARED = 3, 1
  local descriptor = ffi.C.open(os.getenv("BENCH_SENT"), 2)
  assert(descriptor >= 0, "BENCH_SENT cannot be opened")
  sent = ffi.cast("uint64_t *", ffi.C.mmap(nil, 8, READ_WRITE, SHARED, descriptor, 0))
end

request = function()
  if sent then sent[0] = sent[0] + 1 end
  return raw
end

done = function(summary, latency, requests)
  local e = summary.errors
  io.stdout:write(string.format(
    '\n{"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
