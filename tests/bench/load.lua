-- Sends the request bodies of a file in turn. @OFFSET@ in a body is replaced by a number that is new for each request.
local requests, turn, offset = {}, 0, 0

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json"
  wrk.headers["X-API-Key"] = "bench"
  offset = tonumber(args[2])
  for body in io.lines(args[1]) do
    local before, after = body:match("^(.*)@OFFSET@(.*)$")
    requests[#requests + 1] = before and {before, after} or wrk.format(nil, nil, nil, body)
  end
end

function request()
  turn = turn % #requests + 1
  local each = requests[turn]
  if type(each) == "string" then
    return each
  end
  offset = offset + 1
  return wrk.format(nil, nil, nil, each[1] .. offset .. each[2])
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50": %.1f, "p99": %.1f, "failed": %d, "bytes": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, summary.bytes))
end
