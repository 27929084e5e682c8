--- Segments: how late it is known that somebody has entered or left, while a million others are in windows; what one of those
--- costs.
local socket = require "socket"
local files = require "spec.functional.support.files"
local feed = dofile "tools/bench.d/feed.lua"

-- The many are in `hours` for the whole run; each event of the load enters `seconds`, and a second later leaves it.
local RULE = [[
local kairos = require "kairos"
local segment = kairos.segment
local views = kairos.window { of = "product.viewed", over = "12h" }
local carts = kairos.window { of = "cart.updated", over = "1s" }

return {
  segment { name = "hours", member = function(user) return user:count(views) >= 1 end },
  segment { name = "seconds", member = function(user) return user:count(carts) >= 1 end },
}
]]

local function changes(samples, segment, change)
  return samples[('kairos_segment_changes_total{segment="%s",change="%s"}'):format(segment, change)] or 0
end

local function run(bench)
  local users = bench.quick and 10000 or 1000000
  local seconds = bench.quick and 0.5 or 10
  files.write(bench.directory .. "/rules/groups/rule.lua", RULE)
  local host = bench:host {
    rules = bench.directory .. "/rules",
    config = "state: {memory: 2GB, write_behind: 1s, checkpoint_every: 10s}\nlog: {segment_age: 1s}\n",
  }
  local figures = { users = users, rate = bench.quick and 1000 or 5000 }
  local idle = bench.rss_bytes(host.child.pid)
  local fed = feed.all(bench, host, { events = users, users = users, batch = 500, connections = 8, types = "product.viewed" })
  figures.enter_a_second = users / fed.seconds
  bench:await(host.child, function()
    local samples = host:scrape()
    return changes(samples, "hours", "entered") == users and (bench.quick or samples.kairos_users_dirty == 0)
  end, 120)
  figures.bytes_a_member = (bench.rss_bytes(host.child.pid) - idle) / users
  bench:say("%d users are in, %.0f a second, %.0f bytes each", users, figures.enter_a_second, figures.bytes_a_member)

  local before = host:scrape()
  local load = bench:load { port = host.port, rate = figures.rate, seconds = seconds, hi = 0, users = users, in_order = true }
  if load.errors > 0 then error "the load met errors" end
  bench:await(host.child, function()
    local samples = host:scrape()
    local entered = changes(samples, "seconds", "entered") - changes(before, "seconds", "entered")
    return entered > 0 and entered == changes(samples, "seconds", "left") - changes(before, "seconds", "left")
  end, 30)
  socket.sleep(1)
  local after = host:scrape()
  figures.changes = changes(after, "seconds", "left") - changes(before, "seconds", "left")
  for _, change in ipairs { "entered", "left" } do
    local histogram = bench.histogram(before, after, "kairos_segment_lateness_seconds", ('change="%s"'):format(change))
    figures[change .. "_p50_ms"] = bench.quantile(histogram, 0.5) * 1000
    figures[change .. "_p99_ms"] = bench.quantile(histogram, 0.99) * 1000
  end
  bench:say("%d entered and left: known %.1f and %.1f ms late at the 99th percentile", figures.changes, figures.entered_p99_ms,
    figures.left_p99_ms)
  return figures
end

local function lines(figures)
  return {
    ("%d users in a window and a segment: %.0f bytes each, all that the process grew by; they entered at %.0f a second"):format(
      figures.users, figures.bytes_a_member, figures.enter_a_second),
    ("%d a second enter another one and leave it a second later: entry known %.1f ms late at the median, %.1f at the 99th"
      .. " percentile; exit %.1f and %.1f ms"):format(figures.rate, figures.entered_p50_ms, figures.entered_p99_ms,
      figures.left_p50_ms, figures.left_p99_ms),
  }
end

return { name = "segments", title = "how late an entry or exit is known, with a million users in windows", run = run,
  lines = lines }
