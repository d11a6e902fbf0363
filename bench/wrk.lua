-- The same bytes for every request, from the file that BENCH_REQUEST names; the result as one line of JSON.
local file = assert(io.open(os.getenv("BENCH_REQUEST"), "rb"))
local raw = file:read("*a")
file:close()

request = function() return raw end

done = function(summary, latency, requests)
  local e = summary.errors
  io.stdout:write(string.format(
    '\n{"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
