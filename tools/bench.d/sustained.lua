--- A long run over more users than memory holds: what sealing, ingestion and compaction leave of the rate.
--
-- Customers come often or seldom: a hundredth of them make half of the events, the table holds some, the store the rest. A
-- quarter of that time follows in which all have even odds: then nearly every event is about a user who has to be fetched,
-- the worst there is.
--
-- BENCH_SUSTAINED_MINUTES is the length of the first part (20), BENCH_SUSTAINED_USERS how many there are (10 million); memory
-- is in proportion, so that with a tenth of both what comes with time is seen in a tenth of it. It gives up when less than
-- DISK_SPARE is left on the disk.
local lfs = require "lfs"
local socket = require "socket"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local feed = dofile "tools/bench.d/feed.lua"

local DISK_SPARE = 10e9

-- The reference rule, but for the count it asks for: with so many users few have three carts in ten minutes.
local RULE = [[
local kairos = require "kairos"

local carts = kairos.window { of = "cart.updated", over = "10m" }

return kairos.rule {
  name = "reference",
  on   = "cart.updated",
  when = function(event, user)
    return user:count(carts) >= 1 and event.payload.total > 40
  end,
  act  = function(event, user)
    user:send { channel = "webhook", template = "cart", data = { total = event.payload.total } }
  end,
}
]]

local EVEN, SKEWED = nil, true

local function load(users, seconds, skewed)
  return feed.reference { seconds = seconds, users = users, random = 1, skewed = skewed }
end

local function start_host(bench, name, sink, memory)
  return bench:host {
    name = name, sink = sink.port, rules = bench.directory .. "/rules",
    config = ("state: {memory: %s}\n"):format(memory),
  }
end

--- What this process has had written to disk.
local function written_bytes(pid)
  return tonumber(files.read(("/proc/%d/io"):format(pid)):match "\nwrite_bytes: (%d+)")
end

local function free_bytes(path)
  return tonumber(process.shell("df --output=avail -B1 " .. path):match "(%d+)%s*$")
end

local function disk_bytes(path)
  local sum = 0
  for _, name in ipairs(files.under(path)) do sum = sum + (lfs.attributes(path .. "/" .. name, "blocks") or 0) * 512 end
  return sum
end

--- The load as a child, and the host watched meanwhile. @return what feed printed; most that was seen of some figures
local function watch(bench, host, users, seconds, skewed)
  local child = feed.start(bench, host, load(users, seconds, skewed))
  local most, told = { users = 0, table = 0, rss = 0, disk = 0, segments = 0 }, socket.gettime()
  local function see(name, value) most[name] = math.max(most[name], value) end
  while child:alive() do
    socket.sleep(1)
    local samples = host:scrape()
    see("table", samples.kairos_user_bytes)
    see("users", samples.kairos_users_in_memory)
    see("rss", bench.rss_bytes(host.child.pid))
    see("segments", samples.kairos_log_segments)
    see("disk", samples.kairos_store_bytes + samples.kairos_log_bytes)
    if socket.gettime() - told > 30 then
      told = socket.gettime()
      bench:say("%.0f M events, %.1f GB on disk", samples['kairos_events_total{verdict="accepted"}'] / 1e6, most.disk / 1e9)
      if free_bytes(bench.directory) < DISK_SPARE then error "the disk is nearly full" end
    end
  end
  local figures = feed.figures(child)
  assert(not figures.lost, "feed lost a connection")
  return figures, most
end

--- Whole seconds, and their least.
local function lowest_second(by_second)
  local lowest = math.huge
  for index = #by_second > 2 and 2 or 1, math.max(#by_second - 1, 1) do lowest = math.min(lowest, by_second[index]) end
  return lowest
end

local function mean(list, first, last)
  local sum = 0
  for index = first, last do sum = sum + list[index] end
  return sum / (last - first + 1)
end

local function run(bench)
  local minutes = os.getenv "BENCH_SUSTAINED_MINUTES"
  local seconds = minutes and 60 * tonumber(minutes) or bench.quick and 1 or 20 * 60
  local users = tonumber(os.getenv "BENCH_SUSTAINED_USERS") or bench.quick and 50000 or 10000000
  local memory = ("%dMB"):format(math.max(16, 256 * users / 10000000))
  files.write(bench.directory .. "/rules/reference/rule.lua", RULE)
  files.write(bench.directory .. "/rules/reference/cart.json", files.read "tools/bench.d/rules/reference/cart.json")
  local sink = bench:sink()

  local short = start_host(bench, "short", sink, "256MB")
  if not bench.quick then feed.run(bench, short, load(100000, 1)) end
  local fed = feed.run(bench, short, load(100000, bench.quick and 1 or 10))
  local batch = fed.accepted / fed.seconds
  bench:say("%.0f events/s of 100000 users for %.0f s", batch, fed.seconds)
  short:stop()
  files.remove(short.data)

  local host = start_host(bench, "host", sink, memory)
  local pid, before, delivered = host.child.pid, written_bytes(host.child.pid), sink.requests()
  local long, most = watch(bench, host, users, seconds, SKEWED)
  local written = written_bytes(pid) - before
  local even = watch(bench, host, users, math.ceil(seconds / 4), EVEN)
  assert(long.rejected == 0 and even.rejected == 0, "events were rejected")
  process.eventually(30, function() return host:backlog() == 0 end)
  delivered = sink.requests() - delivered
  local samples = host:scrape()
  local tail = math.max(1, math.floor(#long.by_second / 4))
  local figures = {
    minutes = long.seconds / 60, users = users, events = long.accepted, batch_events = batch,
    events_per_second = long.accepted / long.seconds, ratio_batch = long.accepted / long.seconds / batch,
    even_seconds = even.seconds, even_events = even.accepted, even_events_per_second = even.accepted / even.seconds,
    even_ratio_batch = even.accepted / even.seconds / batch, even_longest_stall_ms = even.gap_ms,
    last_quarter_events = mean(long.by_second, math.max(1, #long.by_second - tail), math.max(1, #long.by_second - 1)),
    longest_stall_ms = long.gap_ms, longest_stall_at = long.gap_at, lowest_second = lowest_second(long.by_second),
    p50_ms = long.p50_ms, p99_ms = long.p99_ms, max_ms = long.max_ms, resent = long.resent,
    delivered_one_in = (long.accepted + even.accepted) / math.max(delivered, 1),
    written_bytes_an_event = written / long.accepted, disk_bytes = disk_bytes(host.data), most_disk_bytes = most.disk,
    disk_bytes_an_event = disk_bytes(host.data) / (long.accepted + even.accepted),
    table_bytes = most.table, users_in_memory = most.users, rss_bytes = most.rss, segments = most.segments,
    store_users = samples.kairos_store_users, filter_bytes = samples.kairos_dedup_filter_bytes,
  }
  host:stop()
  return figures
end

local function lines(figures)
  return {
    ("%.1f minutes, %d users: %.1f M events, %.0f a second, %.2f of the %.0f that 100000 users have; %.0f in the "
      .. "last quarter"):format(figures.minutes, figures.users, figures.events / 1e6, figures.events_per_second,
      figures.ratio_batch, figures.batch_events, figures.last_quarter_events),
    ("longest stall %.0f ms (after %.0f s), lowest second %.0f events; a request %.1f ms, p99 %.1f, at most %.0f ms; %d sent "
      .. "again; one event in %.0f delivered"):format(figures.longest_stall_ms, figures.longest_stall_at, figures.lowest_second,
      figures.p50_ms, figures.p99_ms, figures.max_ms, figures.resent, figures.delivered_one_in),
    ("%.1f minutes more, all users alike: %.0f a second, %.2f; longest stall %.0f ms"):format(figures.even_seconds / 60,
      figures.even_events_per_second, figures.even_ratio_batch, figures.even_longest_stall_ms),
    ("written to disk: %.0f bytes an event; on disk in the end %.1f GB (%.0f bytes an event), %.1f GB at most"):format(
      figures.written_bytes_an_event, figures.disk_bytes / 1e9, figures.disk_bytes_an_event, figures.most_disk_bytes / 1e9),
    ("at most in memory: %.0f MB of records (%d users), %.0f MB resident in all"):format(figures.table_bytes / 2 ^ 20,
      figures.users_in_memory, figures.rss_bytes / 2 ^ 20),
  }
end

return { name = "sustained", title = "20 minutes over 10 million users, 256 MB of them in memory", run = run, lines = lines }
