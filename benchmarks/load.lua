-- wrk asks for the lines of the file PATHS in turn, each connection group from another one on, and prints JSON.
-- With BODY they are POSTs.
local paths = {}
for line in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = line end
local next_path = 0
local body = os.getenv("BODY")
if body then wrk.headers["Content-Type"] = "application/json" end

function request()
  next_path = next_path % #paths + 1
  return wrk.format(body and "POST" or "GET", paths[next_path], nil, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "errors": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
