--- What a user costs in memory: three windows of five entries each, hot and cold, and three that have become buckets.
local socket = require "socket"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local feed = dofile "tools/bench.d/feed.lua"

local DAY = 24 * 3600 * 1000

-- Nothing runs: the host alone keeps windows.
local RULE = [[
local kairos = require "kairos"

kairos.window { of = "product.viewed", over = "7d" }
kairos.window { of = "cart.updated", over = "7d", sum = "payload.total" }
kairos.window { of = "order.placed", over = "7d" }

return kairos.rule { name = "windows", on = "never.sent", act = function() end }
]]

--- Wait until records are written, segments sealed and a checkpoint made: until memory is what it stays.
local function settle(bench, host)
  local last, since = nil, socket.gettime()
  local calm = process.eventually(180, function()
    socket.sleep(0.25)
    local now = host:scrape()
    local state = table.concat({ now.kairos_dedup_bytes, now.kairos_dedup_filter_bytes, now.kairos_log_segments }, " ")
    if state ~= last or now.kairos_users_dirty > 0 then last, since = state, socket.gettime() end
    -- A filter of dedup marks that a larger one replaced is kept for ten seconds.
    return socket.gettime() - since > (bench.quick and 0.3 or 12)
  end)
  assert(calm, "it does not come to rest")
end

--- Load users, each with the same number of entries in each window, spread over the windows' length.
local function measure(bench, name, users, entries)
  files.write(bench.directory .. "/rules/windows/rule.lua", RULE)
  local host = bench:host {
    name = name, rules = bench.directory .. "/rules",
    config = "state: {memory: 1GB, write_behind: 1s, checkpoint_every: 10s}\nlog: {segment_age: 1s}\n",
  }
  local idle = bench.rss_bytes(host.child.pid)
  local events = users * 3 * entries
  -- The windows' middle: none has left by the end of the load.
  local fed = feed.all(bench, host, {
    events = events, batch = 500, connections = 8, users = users, types = "product.viewed,cart.updated,order.placed",
    payload = '{"total":12.5}', from = socket.gettime() * 1000 - 6.5 * DAY, over = 6.4 * DAY,
  })
  settle(bench, host)
  local after = host:scrape()
  local figures = {
    users = users, entries = entries, events_per_second = fed.accepted / fed.seconds,
    rss = (bench.rss_bytes(host.child.pid) - idle) / users, idle_rss = idle,
    table = after.kairos_user_bytes / after.kairos_users_in_memory,
    dedup = (after.kairos_dedup_bytes + after.kairos_dedup_filter_bytes) / users,
    store = (after.kairos_store_memtable_bytes + after.kairos_store_cache_bytes) / users,
  }
  assert(after.kairos_users_in_memory == users, "not every user is in memory")
  host:stop()
  return figures, host
end

--- The same directory, started anew: users are on disk until something happens to them.
local function measure_cold(bench, host, users, idle)
  host:launch()
  host:ready()
  settle(bench, host)
  local after = host:scrape()
  local figures = { rss = (bench.rss_bytes(host.child.pid) - idle) / users, disk = after.kairos_store_bytes / users }
  host:stop()
  return figures
end

local function run(bench)
  local users = bench.quick and 5000 or 1000000
  local hot, host = measure(bench, "five", users, 5)
  bench:say("five entries a window: %.0f events/s, %.0f bytes a user", hot.events_per_second, hot.rss)
  local cold = measure_cold(bench, host, users, hot.idle_rss)
  files.remove(host.data)
  local buckets = measure(bench, "buckets", bench.quick and 300 or 50000, 100)
  return {
    users = users, bytes_a_user = hot.rss, table_bytes_a_user = hot.table, dedup_bytes_a_user = hot.dedup,
    store_bytes_a_user = hot.store, events_per_second = hot.events_per_second,
    cold_bytes_a_user = cold.rss, disk_bytes_a_user = cold.disk,
    bucket_users = buckets.users, bucket_entries = buckets.entries, bucket_bytes_a_user = buckets.rss,
    bucket_table_bytes_a_user = buckets.table,
  }
end

local function lines(figures)
  return {
    ("%d users, 3 windows of 5 entries: %.0f bytes a user, all that the process grew by; its table of users %.0f, dedup %.0f, "
      .. "caches of the store %.0f"):format(figures.users, figures.bytes_a_user, figures.table_bytes_a_user,
      figures.dedup_bytes_a_user, figures.store_bytes_a_user),
    ("cold: %.0f bytes a user in memory, %.0f on disk, events included"):format(figures.cold_bytes_a_user,
      figures.disk_bytes_a_user),
    ("%d users, 3 windows of %d entries, in buckets: the table %.0f bytes a user; the process grew by %.0f, what its %d "
      .. "events left behind included"):format(figures.bucket_users, figures.bucket_entries, figures.bucket_table_bytes_a_user,
      figures.bucket_bytes_a_user, figures.bucket_users * figures.bucket_entries * 3),
  }
end

return { name = "memory", title = "bytes of memory a user, with three windows", run = run, lines = lines }
