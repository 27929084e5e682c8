--- New windows filled from the event log: users a second, and what events wait meanwhile.
-- BENCH_FILL_USERS: how many, instead of a million.
local socket = require "socket"
local files = require "spec.functional.support.files"
local feed = dofile "tools/bench.d/feed.lua"

local DAY = 24 * 3600 * 1000
local EVENTS_A_USER = 5

-- At first nothing counts orders.
local RULE = [[
local kairos = require "kairos"
%s
return kairos.rule { name = "%s", on = "never.sent", act = function() end }
]]
local WINDOW = [[kairos.window { of = "order.placed", over = "%s" }]]

local function save(bench, name, over)
  files.write(("%s/rules/%s/rule.lua"):format(bench.directory, name), RULE:format(over and WINDOW:format(over) or "", name))
end

--- Wait until all but the open segment is sealed, and records are written.
local function settle(bench, host)
  local last, since = nil, socket.gettime()
  bench:await(host.child, function()
    socket.sleep(0.25)
    local now = host:scrape()
    local state = now.kairos_log_segments .. " " .. now.kairos_store_bytes
    if state ~= last or now.kairos_users_dirty > 0 then last, since = state, socket.gettime() end
    return socket.gettime() - since > (bench.quick and 0.5 or 4)
  end, 300)
end

--- A campaign with a window of this length is saved; wait until it serves. @return users filled, seconds, as the host says
local function fill(bench, host, name, over)
  local before = #files.read(host.child.log)
  save(bench, name, over)
  host:command("reload", "--no-wait")
  local users, ms
  bench:await(host.child, function()
    socket.sleep(0.02)
    users, ms = files.read(host.child.log):sub(before):match 'what is new is filled" users=(%d+) milliseconds=(%d+)'
    return users
  end, 600)
  return tonumber(users), tonumber(ms) / 1000
end

local function run(bench)
  local users = tonumber(os.getenv "BENCH_FILL_USERS") or bench.quick and 5000 or 1000000
  local figures = { users = users, events = users * EVENTS_A_USER, rate = bench.quick and 2000 or 20000 }
  save(bench, "plain")
  local host = bench:host {
    rules = bench.directory .. "/rules",
    config = "rules: {watch: false}\nstate: {memory: 1GB, write_behind: 1s, checkpoint_every: 10s}\nlog: {segment_age: 2s}\n",
  }
  local fed = feed.all(bench, host, {
    events = figures.events, batch = 500, connections = 8, users = users, types = "order.placed", payload = '{"total":12.5}',
    from = socket.gettime() * 1000 - 29 * DAY, over = 28.9 * DAY,
  })
  bench:say("%d events are in the log, %.0f a second", figures.events, fed.accepted / fed.seconds)
  settle(bench, host)
  local filled, seconds = fill(bench, host, "alone", "30d")
  assert(filled == users, ("%d of %d users were filled"):format(filled, users))
  figures.alone_users_per_second = users / seconds
  figures.alone_seconds = seconds
  bench:say("alone: %.0f users a second", figures.alone_users_per_second)
  settle(bench, host)

  local function start_load(length)
    return bench:start_load {
      port = host.port, batch = 20, connections = 16, hi = 0, users = users, rate = figures.rate,
      warm_up = bench.quick and 0.5 or 1,
      seconds = (bench.quick and 0.5 or 1) + length,
    }
  end
  local function note(kind, load)
    local result = load.result()
    assert(result.errors == 0 and result.accepted == result.events, "the load met errors")
    for _, share in ipairs { "p50", "p99", "max" } do
      figures[kind .. "_" .. share .. "_ms"] = result["answer_" .. share .. "_ms"]
    end
  end
  local length = bench.quick and 0.5 or math.min(30, math.ceil(seconds * 2))
  note("still", start_load(length))
  local load = start_load(length)
  socket.sleep(1)
  filled, seconds = fill(bench, host, "beside", "29d")
  figures.beside_users_per_second = filled / seconds
  note("beside", load)
  figures.p99_ratio = figures.beside_p99_ms / figures.still_p99_ms
  host:stop()
  return figures
end

local function lines(figures)
  return {
    ("%d users with %d events of 30 days in the log: %.0f users a second while nothing else comes (%.1f s)"):format(
      figures.users, figures.events, figures.alone_users_per_second, figures.alone_seconds),
    ("beside %d events/s: %.0f users a second; due -> answered, durable: p50 %.2f, p99 %.2f, longest %.0f ms; without it %.2f, "
      .. "%.2f, %.0f ms"):format(figures.rate, figures.beside_users_per_second, figures.beside_p50_ms, figures.beside_p99_ms,
      figures.beside_max_ms, figures.still_p50_ms, figures.still_p99_ms, figures.still_max_ms),
  }
end

return { name = "fill", title = "new windows filled from the event log", run = run, lines = lines }
