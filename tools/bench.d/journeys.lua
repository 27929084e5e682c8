--- Journeys: the resume of one, a million asleep (BENCH_JOURNEYS: so many), their wake-ups, the start of a host that has
-- them, years of the cart journey.
local cjson = require "cjson"
local socket = require "socket"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local feed = dofile "tools/bench.d/feed.lua"

local HOUR = 3600 * 1000

-- Begun by an event of an hour before, it wakes when the lead is over.
local RULE = [[
local kairos = require "kairos"

return kairos.journey {
  name  = "sleeping",
  start = { on = "trip.begun" },
  run   = function(journey)
    journey:wait "1h"
    journey:wait "30d"
  end,
}
]]

local function now()
  return socket.gettime() * 1000
end

--- One journey a user; all wake at one moment. @return that moment, ms
local function begin(bench, host, users, lead)
  local due = now() + lead * 1000
  local fed = feed.all(bench, host, {
    events = users, users = users, batch = 500, connections = 8, types = "trip.begun", from = due - HOUR, over = 0,
  })
  if now() > due then error(("journeys woke while they were begun, after %.1f s of %d"):format(fed.seconds, lead)) end
  return due, users / fed.seconds
end

local function fired(samples)
  return samples.kairos_timers_fired_total
end

--- Records written, segments sealed, a checkpoint made: what memory and disk stay at.
local function settle(bench, host)
  local last, since = nil, socket.gettime()
  local calm = process.eventually(180, function()
    socket.sleep(0.25)
    local samples = host:scrape()
    local state = table.concat({ samples.kairos_dedup_bytes, samples.kairos_log_segments, samples.kairos_store_bytes }, " ")
    if state ~= last or samples.kairos_users_dirty > 0 then last, since = state, socket.gettime() end
    return socket.gettime() - since > (bench.quick and 0.5 or 4)
  end)
  assert(calm, "it does not come to rest")
  return host:scrape()
end

--- All wake at one moment: wake-ups a second between the first and the last tenth.
local function burst(bench, host, users, due, before)
  socket.sleep(math.max(0, (due - now()) / 1000))
  local series = {}
  bench:await(host.child, function()
    local count = fired(host:scrape()) - before
    series[#series + 1] = { at = socket.gettime(), count = count }
    return count >= users
  end, 300)
  local first, last
  for _, sample in ipairs(series) do
    if sample.count >= users / 10 then first = first or sample end
    if sample.count <= users * 0.9 then last = sample end
  end
  local drained = series[#series].at - due / 1000
  local middle = first and last and last.at > first.at
  return middle and (last.count - first.count) / (last.at - first.at) or users / drained, drained
end

--- What `kairos journeys` takes, and what the answers to events take meanwhile.
local function count(host, users)
  local began = socket.gettime()
  local total = 0
  for _, row in ipairs(host:ask("journeys").counts) do total = total + row.journeys end
  local took = socket.gettime() - began
  assert(total == users, ("%d of %d journeys are counted"):format(total, users))
  return took
end

--- Post far less than the host takes. @return the time to the answer at the 99th percentile, ms
local function quiet(bench, host, meanwhile)
  local load = bench:start_load { port = host.port, batch = 1, connections = 16, rate = 2000,
    seconds = bench.quick and 1 or 4, warm_up = bench.quick and 0.5 or 1, hi = 0, users = 1000 }
  if meanwhile then
    while load:alive() do meanwhile() end
  end
  return load.result().answer_p99_ms
end

local function run(bench)
  local users = tonumber(os.getenv "BENCH_JOURNEYS") or (bench.quick and 5000 or 1000000)
  -- Time enough to begin them, and to come to rest.
  local lead = bench.quick and 1 or 30 + users / 11000
  local resumed = cjson.decode(bench:run {
    core = bench.SERVER_CORE, seconds = 300,
    command = { bench:linked "journey", "--users", bench.quick and "1000" or "20000", "--years", bench.quick and "1" or "30" },
  }.out)
  bench:say("a resume on 20 steps: %.1f us; %.0f years a second", resumed.resume_us, resumed.years_a_second)
  files.write(bench.directory .. "/rules/sleeping/rule.lua", RULE)
  local host = bench:host {
    rules = bench.directory .. "/rules",
    config = "state: {memory: 2GB, write_behind: 1s, checkpoint_every: 10s}\nlog: {segment_age: 1s}\n",
  }
  local idle = bench.rss_bytes(host.child.pid)
  local before = fired(host:scrape())
  local due, begun = begin(bench, host, users, lead)
  local samples = settle(bench, host)
  local figures = {
    users = users, resume_us = resumed.resume_us, source_ms = resumed.source_ms, source_kb = resumed.source_kb,
    years_a_second = resumed.years_a_second, begun_a_second = begun,
    bytes = (bench.rss_bytes(host.child.pid) - idle) / users, table_bytes = samples.kairos_user_bytes / users,
    index_bytes = samples.kairos_timer_bytes / users, disk_bytes = samples.kairos_store_bytes / users,
  }
  figures.woken_a_second, figures.woken_seconds = burst(bench, host, users, due, before)
  bench:say("%d asleep: %.0f bytes each; %.0f wake-ups a second", users, figures.bytes, figures.woken_a_second)
  settle(bench, host)
  -- They sleep on, in their second wait.
  figures.count_seconds = count(host, users)
  figures.quiet_p99_ms = quiet(bench, host)
  figures.counting_p99_ms = quiet(bench, host, function() count(host, users) end)
  host:stop()
  local began = socket.gettime()
  host:launch()
  host:ready()
  figures.start_seconds = socket.gettime() - began
  figures.cold_bytes = (bench.rss_bytes(host.child.pid) - idle) / users
  host:stop()
  return figures
end

local function lines(figures)
  return {
    ("resume of a sleeping journey with 20 steps behind it: %.1f us of CPU"):format(figures.resume_us),
    ("the cart journey, a cart a day, on the virtual host: %.0f years a second"):format(figures.years_a_second),
    ("an earlier source beside the present one: %.1f ms to load, %.0f KB"):format(figures.source_ms, figures.source_kb),
    ("%d begun, %.0f a second; asleep: %.0f bytes each, all that the process grew by (its record and place %.0f, the index of "
      .. "what is due %.0f); %.0f on disk, events included"):format(figures.users, figures.begun_a_second, figures.bytes,
      figures.table_bytes, figures.index_bytes, figures.disk_bytes),
    ("all wake at once: %.0f a second, the last %.1f s late"):format(figures.woken_a_second, figures.woken_seconds),
    ("`kairos journeys` counts them in %.1f s; events' p99 is %.1f ms while it does so again and again, %.1f ms else"):format(
      figures.count_seconds, figures.counting_p99_ms, figures.quiet_p99_ms),
    ("a start with them asleep: ready after %.2f s, %.0f bytes each in memory until they wake"):format(figures.start_seconds,
      figures.cold_bytes),
  }
end

return { name = "journeys", title = "a resume, a million asleep, their wake-ups, years of the cart journey", run = run,
  lines = lines }
