--- Row: how soon an event is durable, and its message with the provider, at half of what the host can take.
--
-- Requests come at a constant rate whatever the host does, and count from when they were due (tools/bench.d/load.c, which is
-- the provider too and so has both times on one clock). Beside these stand the host's own histograms over the same time,
-- straight between the bounds of their buckets.
local socket = require "socket"

local shapes = {
  { name = "single", batch = 1, connections = 64, hi = 10, label = "one a POST" },
  { name = "batch", batch = 100, connections = 16, hi = 100, label = "100 a POST" },
}

--- Half of what the row of that name has just shown, or of what answers allow now. @return events a second
local function half(bench, shape, host, sink, users)
  local shown = (bench.results[shape.name] or {}).kairos_events
  if shown then return shown / 2 end
  local result = bench:load { port = host.port, sink = sink, batch = shape.batch, connections = shape.connections,
    hi = shape.hi, users = users, seconds = bench.quick and 0.3 or 4 }
  return result.accepted / result.seconds / 2
end

local function measure(bench, shape, figures)
  local sink, users = bench.free_port(), bench.quick and 5000 or 100000
  local host = bench:host { name = "host-" .. shape.name, sink = sink, concurrency = 32 }
  bench:preload(host.port, users, 2)
  local rate = half(bench, shape, host, sink, users)
  local warm_up, seconds = bench.quick and 0.5 or 2, bench.quick and 0.6 or bench.seconds * bench.rounds
  local load = bench:start_load { port = host.port, sink = sink, batch = shape.batch, connections = shape.connections,
    hi = shape.hi, users = users, rate = rate, warm_up = warm_up, seconds = warm_up + seconds }
  socket.sleep(warm_up)
  local before = host:scrape()
  local result = load.result()
  local after = host:scrape()
  host:stop()

  local function keep(name, value) figures[shape.name .. "_" .. name] = value end
  keep("rate", rate)
  keep("messages", result.delivered)
  if result.errors > 0 or result.accepted < result.events or result.delivered ~= result.asked then
    keep("invalid", ("%d errors, %d of %d events accepted, %d of %d messages"):format(result.errors, result.accepted,
      result.events, result.delivered, result.asked))
  end
  for _, share in ipairs { "p50", "p99", "p999", "max" } do
    keep("answer_" .. share .. "_ms", result["answer_" .. share .. "_ms"])
    keep("message_" .. share .. "_ms", result["message_" .. share .. "_ms"])
  end
  keep("late_p99_ms", result.late_p99_ms)
  local inside = {
    durable = bench.histogram(before, after, "kairos_ingest_durable_seconds"),
    delivery = bench.histogram(before, after, "kairos_delivery_seconds", 'provider="sink"'),
  }
  for name, histogram in pairs(inside) do
    keep(name .. "_p50_ms", bench.quantile(histogram, 0.5) * 1000)
    keep(name .. "_p99_ms", bench.quantile(histogram, 0.99) * 1000)
  end
end

return {
  name = "latency",
  title = "from the event to its answer and to its provider, at half of the rates above",
  run = function(bench)
    local figures = {}
    for _, shape in ipairs(shapes) do measure(bench, shape, figures) end
    return figures
  end,
  lines = function(figures)
    local lines = {}
    local function add(shape, label, name, shares)
      local words = {}
      for _, share in ipairs(shares) do
        local value = figures[shape.name .. "_" .. name .. "_" .. share .. "_ms"]
        words[#words + 1] = ("%s %.2f"):format(share, value)
      end
      lines[#lines + 1] = ("  %-60s %s ms"):format(label, table.concat(words, ", "))
    end
    local outside = { "p50", "p99", "p999", "max" }
    for _, shape in ipairs(shapes) do
      lines[#lines + 1] = ("%s, %.0f events/s, %d messages"):format(shape.label, figures[shape.name .. "_rate"],
        figures[shape.name .. "_messages"])
      add(shape, "seen by the client: due -> answered, durable", "answer", outside)
      add(shape, "seen by the provider: due -> message received", "message", outside)
      add(shape, "the host's own: last byte -> durable", "durable", { "p50", "p99" })
      add(shape, "the host's own: decided -> accepted by the provider", "delivery", { "p50", "p99" })
      if figures[shape.name .. "_late_p99_ms"] > figures[shape.name .. "_answer_p99_ms"] / 2 then
        lines[#lines + 1] = ("  (most of it before the request could leave: p99 %.2f ms)"):format(
          figures[shape.name .. "_late_p99_ms"])
      end
      if figures[shape.name .. "_invalid"] then lines[#lines + 1] = "  INVALID: " .. figures[shape.name .. "_invalid"] end
    end
    return lines
  end,
}
