--- Row: delivery alone, beside plain libcurl.
--
-- While the host is paused, events come that each ask for a message; then it is resumed, and nothing else happens until
-- the sink has them all. In turns with that, tools/bench.d/raw_curl.c posts as many to the same sink: requests of the same
-- length, header by header, and then bare ones. Per delivery the host also logs the attempt and syncs it, renders, signs,
-- logs the outcome and writes the ledger.
local cjson = require "cjson"
local process = require "spec.functional.support.process"
local socket = require "socket"

local CONCURRENCY = 32

--- Let the host deliver `count` messages. @return { rate, cpu = us of each, sink = how busy its core was }
local function deliver(bench, host, sink, count, users)
  bench:thaw(host.child)
  host:command "pause"
  bench:load { port = host.port, batch = 100, connections = 16, requests = count / 100, seconds = 600, hi = 1, users = users }
  local waiting = host:backlog()
  if waiting ~= count then error(("%d messages wait, not %d"):format(waiting, count)) end
  local before, cpu, busy = sink.requests(), bench.cpu_seconds(host.child.pid), bench.core_busy(bench.LOAD_CORE)
  local began = socket.gettime()
  host:command "resume"
  local got = process.eventually(600, function() return sink.requests() - before >= count end)
  local seconds = socket.gettime() - began
  busy = (bench.core_busy(bench.LOAD_CORE) - busy) / seconds
  local idle = process.eventually(60, function() return host:backlog() == 0 end)
  cpu = bench.cpu_seconds(host.child.pid) - cpu
  bench:freeze(host.child)
  if not got or not idle or sink.requests() - before ~= count then
    error(("%d of %d messages came"):format(sink.requests() - before, count))
  end
  return { rate = count / seconds, cpu = cpu / count * 1e6, sink = busy }
end

--- Let libcurl post `count` by itself. @return as deliver()
local function raw(bench, sink, count, bare)
  local busy = bench.core_busy(bench.LOAD_CORE)
  local result = cjson.decode(bench:run {
    core = bench.SERVER_CORE, seconds = 600,
    command = { bench:program "raw_curl", ("http://127.0.0.1:%d/"):format(sink.port), CONCURRENCY, count, bare and "bare" },
  }.out)
  busy = (bench.core_busy(bench.LOAD_CORE) - busy) / result.seconds
  return { rate = result.requests / result.seconds, cpu = result.cpu_seconds / result.requests * 1e6, sink = busy }
end

return {
  name = "delivery",
  title = "messages from a standing backlog, 32 requests at once, beside plain libcurl",
  run = function(bench)
    local users, count = bench.quick and 2000 or 100000, bench.quick and 4000 or 200000
    local sink = bench:sink()
    local host = bench:host { sink = sink.port, concurrency = CONCURRENCY, config = "delivery: {outbox_max: 2GB}" }
    bench:preload(host.port, users, 2)
    bench:freeze(host.child)
    raw(bench, sink, count / 10)
    local hosts, raws, bares = {}, {}, {}
    local rates, costs, bare_rates, bare_costs = {}, {}, {}, {}
    for round = 1, bench.rounds do
      local kairos, plain = deliver(bench, host, sink, count, users), raw(bench, sink, count)
      local bare = raw(bench, sink, count, true)
      hosts[round], raws[round], bares[round] = kairos, plain, bare
      rates[round], costs[round] = kairos.rate / plain.rate, kairos.cpu / plain.cpu
      bare_rates[round], bare_costs[round] = kairos.rate / bare.rate, kairos.cpu / bare.cpu
      bench:say("round %d: %.0f deliveries/s, libcurl %.0f, bare %.0f", round, kairos.rate, plain.rate, bare.rate)
    end
    return {
      messages = count, concurrency = CONCURRENCY,
      kairos_per_second = bench.median(hosts, "rate"), kairos_cpu_us = bench.median(hosts, "cpu"),
      libcurl_per_second = bench.median(raws, "rate"), libcurl_cpu_us = bench.median(raws, "cpu"),
      bare_per_second = bench.median(bares, "rate"), bare_cpu_us = bench.median(bares, "cpu"),
      kairos_sink_core = bench.median(hosts, "sink"), libcurl_sink_core = bench.median(raws, "sink"),
      bare_sink_core = bench.median(bares, "sink"),
      ratio_rate = bench.median(rates), ratio_cpu = bench.median(costs),
      ratio_bare_rate = bench.median(bare_rates), ratio_bare_cpu = bench.median(bare_costs),
    }
  end,
  lines = function(figures)
    local function line(label, name)
      return ("%-28s %10.0f %16.1f %14.0f %%"):format(label, figures[name .. "_per_second"], figures[name .. "_cpu_us"],
        figures[name .. "_sink_core"] * 100)
    end
    return {
      ("%-28s %10s %16s %16s"):format(("%d messages"):format(figures.messages), "a second", "CPU us of each", "sink's core"),
      line("Kairos", "kairos"), line("libcurl, the same requests", "libcurl"), line("libcurl, bare requests", "bare"),
      ("%-28s %10.2f %16.2f"):format("Kairos : the same requests", figures.ratio_rate, figures.ratio_cpu),
      ("%-28s %10.2f %16.2f"):format("Kairos : bare requests", figures.ratio_bare_rate, figures.ratio_bare_cpu),
    }
  end,
}
