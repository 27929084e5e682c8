--- How long a start takes: after a kill -9, by the log that has to be read again; and with many users stored.
local socket = require "socket"
local files = require "spec.functional.support.files"
local lfs = require "lfs"
local feed = dofile "tools/bench.d/feed.lua"

local function folder_bytes(path)
  local sum = 0
  for _, name in ipairs(files.under(path)) do sum = sum + (lfs.attributes(path .. "/" .. name, "size") or 0) end
  return sum
end

--- Start it again. @return seconds until it takes events
local function start(host)
  local began = socket.gettime()
  host:launch()
  host:ready(900)
  return socket.gettime() - began
end

--- A number that the host's log says of its last recovery.
local function recovered(host, name)
  local last
  for line in files.read(host.child.log):gmatch "[^\n]*msg=\"recovered\"[^\n]*" do last = line end
  return tonumber((last or ""):match(name .. "=(%d+)"))
end

--- Kill it under load when its log has grown to `bytes`, none of which a checkpoint covers.
local function measure_tail(bench, bytes, users)
  local host = bench:host { name = "tail", config = "state: {checkpoint_every: 24h}\n" }
  local child = feed.start(bench, host, feed.reference { users = users, random = 1, seconds = 3600 })
  bench:await(child, function() return folder_bytes(host.data .. "/log") >= bytes end, 900)
  host:kill()
  child:wait(10)
  bench:stop(child)
  local tail = folder_bytes(host.data .. "/log")
  local seconds = start(host)
  local records = recovered(host, "records")
  assert(records and records > 0, "nothing was recovered")
  host:stop()
  files.remove(host.data)
  return { seconds = seconds, bytes = tail, records = records }
end

--- Users stored, one event each, then an orderly end.
local function measure_users(bench, users)
  local host = bench:host { name = "users" }
  feed.all(bench, host, feed.reference { users = users, events = users, batch = 500 })
  local began = socket.gettime()
  host.child:signal "TERM"
  assert(host.child:wait(300) == 0, "it did not end well")
  local stop = socket.gettime() - began
  local seconds = start(host)
  local figures = {
    seconds = seconds, stop = stop, rss = bench.rss_bytes(host.child.pid), stored = host:scrape().kairos_store_users,
    disk = folder_bytes(host.data),
  }
  assert(figures.stored > users * 0.9, "the users are not there")
  host:stop()
  return figures
end

local function run(bench)
  local tail = measure_tail(bench, bench.quick and 20e6 or 2e9, bench.quick and 20000 or 1000000)
  bench:say("%.2f GB of log: ready after %.2f s", tail.bytes / 1e9, tail.seconds)
  local users = bench.quick and 20000 or 10000000
  local stored = measure_users(bench, users)
  return {
    tail_bytes = tail.bytes, tail_records = tail.records, tail_seconds = tail.seconds,
    seconds_a_gb = tail.seconds / tail.bytes * 1e9, records_a_second = tail.records / tail.seconds,
    users = users, start_seconds = stored.seconds, stop_seconds = stored.stop, start_rss_bytes = stored.rss,
    disk_bytes = stored.disk,
  }
end

local function lines(figures)
  return {
    ("kill -9 with %.2f GB of log behind the last checkpoint, %.1f M records: ready after %.2f s, %.2f s a GB"):format(
      figures.tail_bytes / 1e9, figures.tail_records / 1e6, figures.tail_seconds, figures.seconds_a_gb),
    ("%d users stored (%.1f GB): ready %.2f s after its start, %.0f MB resident; it had ended within %.2f s"):format(
      figures.users, figures.disk_bytes / 1e9, figures.start_seconds, figures.start_rss_bytes / 2 ^ 20, figures.stop_seconds),
  }
end

return { name = "recovery", title = "from start to ready: after a kill -9, and with many users stored", run = run, lines = lines }
