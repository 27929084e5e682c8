--- What a pending timer costs, how late timers fire at an even rate, and how many a second when all are due at once.
local socket = require "socket"
local files = require "spec.functional.support.files"
local feed = dofile "tools/bench.d/feed.lua"

local AFTER = 3600 * 1000

local RULE = [[
local kairos = require "kairos"

return kairos.rule {
  name   = "wake",
  on     = "timer.wanted",
  act    = function(event, user) user:after("1h", { name = "wake" }) end,
  timers = { wake = function(timer, user) end },
}
]]

local function now()
  return socket.gettime() * 1000
end

--- Set a timer for each user, the first due in `lead` seconds, the last `over` ms later. @return when the first is due, ms
local function set_timers(bench, host, users, lead, over)
  local due = now() + lead * 1000
  -- An event from an hour before, for a timer of an hour.
  local fed = feed.all(bench, host, {
    events = users, users = users, batch = 500, connections = 8, types = "timer.wanted", from = due - AFTER, over = over,
  })
  if now() > due then error(("timers came due while they were set, after %.1f s of %d"):format(fed.seconds, lead)) end
  return due
end

local function fired(samples)
  return samples.kairos_timers_fired_total
end

local function sleep_until(due)
  socket.sleep(math.max(0, (due - now()) / 1000))
end

--- Lateness at a rate that leaves most of the core free.
local function measure_lateness(bench, host, rate, seconds)
  local users = rate * seconds
  local before = host:scrape()
  local due = set_timers(bench, host, users, 1 + users / 25000, seconds * 1000)
  sleep_until(due + seconds * 1000)
  bench:await(host.child, function() return fired(host:scrape()) - fired(before) == users end, 30)
  local histogram = bench.histogram(before, host:scrape(), "kairos_timer_lateness_seconds")
  return bench.quantile(histogram, 0.5) * 1000, bench.quantile(histogram, 0.99) * 1000
end

--- All due at one moment: timers a second, between the first and the last tenth.
local function measure_burst(bench, host, users, due)
  local before = fired(host:scrape())
  sleep_until(due)
  local series = {}
  bench:await(host.child, function()
    local count = fired(host:scrape()) - before
    series[#series + 1] = { at = socket.gettime(), count = count }
    return count == users
  end, 300)
  local first, last
  for _, sample in ipairs(series) do
    if sample.count >= users / 10 then first = first or sample end
    if sample.count <= users * 0.9 then last = sample end
  end
  local drained = series[#series].at - due / 1000
  -- A small burst is over before two samples of its middle are taken.
  local middle = first and last and last.at > first.at
  return middle and (last.count - first.count) / (last.at - first.at) or users / drained, drained
end

--- The index's and the records' memory, and what the process grew by since `idle`.
local function measure_memory(bench, host, users, idle)
  local samples
  bench:await(host.child, function()
    samples = host:scrape()
    return samples.kairos_users_with_timers == users and (bench.quick or samples.kairos_users_dirty == 0)
  end, bench.quick and 2 or 60)
  if not bench.quick then socket.sleep(3) end
  return (bench.rss_bytes(host.child.pid) - idle) / users, samples.kairos_timer_bytes / users, samples.kairos_user_bytes / users
end

local function run(bench)
  local users = bench.quick and 10000 or 1000000
  local lead = bench.quick and 1 or 90
  files.write(bench.directory .. "/rules/wake/rule.lua", RULE)
  local host = bench:host {
    rules = bench.directory .. "/rules",
    config = "state: {memory: 1GB, write_behind: 1s, checkpoint_every: 10s}\nlog: {segment_age: 1s}\n",
  }
  local figures = { users = users, idle_rss = bench.rss_bytes(host.child.pid) }
  local due = set_timers(bench, host, users, lead, 0)
  figures.bytes_a_timer, figures.index_bytes_a_timer, figures.user_bytes_a_timer =
    measure_memory(bench, host, users, figures.idle_rss)
  figures.burst_a_second, figures.burst_seconds = measure_burst(bench, host, users, due)
  bench:say("%d timers due at once: %.0f a second", users, figures.burst_a_second)

  figures.even_a_second = bench.quick and 2000 or 10000
  figures.late_p50_ms, figures.late_p99_ms = measure_lateness(bench, host, figures.even_a_second, bench.quick and 1 or 10)
  bench:say("%d timers a second: %.1f ms late at the 99th percentile", figures.even_a_second, figures.late_p99_ms)

  -- Users whom nobody has seen since a restart: each one's record comes from the store.
  due = set_timers(bench, host, users, lead, 0)
  host:stop()
  host:launch()
  host:ready()
  figures.cold_burst_a_second, figures.cold_burst_seconds = measure_burst(bench, host, users, due)
  return figures
end

local function lines(figures)
  return {
    ("%d pending: %.0f bytes each, all that the process grew by; the index %.0f, the user's record and place %.0f"):format(
      figures.users, figures.bytes_a_timer, figures.index_bytes_a_timer, figures.user_bytes_a_timer),
    ("all due at once: %.0f a second, the last one %.1f s late; %.0f a second with users on disk"):format(
      figures.burst_a_second, figures.burst_seconds, figures.cold_burst_a_second),
    ("%d due a second: late by %.1f ms at the median, %.1f ms at the 99th percentile"):format(figures.even_a_second,
      figures.late_p50_ms, figures.late_p99_ms),
  }
end

return { name = "timers", title = "pending timers: their cost, their lateness, how many can fire a second", run = run,
  lines = lines }
