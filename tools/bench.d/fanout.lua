--- Row: what a fan-out reaches a second, what it costs other events meanwhile, and that kills change nothing.
--
-- A hundred thousand users have looked at one product. An event about it makes a fan-out to all of them: as fast as the host
-- takes them, with a message each; then, with an attribute each and no message, beside an even load of other events, one a
-- POST, paced and not paced; then through ten kill -9, after which a second fan-out finds each user reached exactly once.
local cjson = require "cjson"
local socket = require "socket"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local feed = dofile "tools/bench.d/feed.lua"

local INTEREST = [[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", by = "payload.sku", over = "30d" }
]]

local function rule(name, pace, act)
  return INTEREST .. ([[
return kairos.rule {
  name = "%s",
  on = "%s.wanted",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  %s
  act = function(event, user) %s end,
}
]]):format(name, name, pace and ('pace = "%s",'):format(pace) or "", act)
end

local FAST = "1000000/s"
local COUNT = 'user:set("reached", (user.reached or 0) + 1)'
local RULES = {
  message = rule("message", FAST, 'user:send { channel = "webhook", template = "said", data = { sku = event.payload.sku } }'),
  unpaced = rule("unpaced", FAST, 'user:set("price", event.payload.price)'),
  paced = rule("paced", nil, 'user:set("price", event.payload.price)'),
  counted = rule("counted", FAST, COUNT),
  verified = rule("verified", FAST, 'if user.reached ~= 1 then error("reached " .. tostring(user.reached)) end'),
}

local function write_rules(directory)
  for name, text in pairs(RULES) do
    files.write(("%s/rules/%s/rule.lua"):format(directory, name), text)
    files.write(("%s/rules/%s/said.json"):format(directory, name), '{"sku": "{{sku}}"}')
  end
  files.write(directory .. "/rules/reference/rule.lua", files.read "tools/bench.d/rules/reference/rule.lua")
  files.write(directory .. "/rules/reference/cart.json", files.read "tools/bench.d/rules/reference/cart.json")
end

local serial = 0
local function begin(host, name)
  serial = serial + 1
  local body = cjson.encode { event_id = name .. serial, event_type = name .. ".wanted", subject = "K1",
    timestamp = math.floor(socket.gettime() * 1000), payload = { sku = "K1", price = serial } }
  local answer = assert(http.request(host.port, { body = body }))
  assert(answer.status == 202, answer.body)
end

local function fan_out(host, name)
  for _, one in ipairs(host:ask "fanouts") do
    if one.campaign == name then return one end
  end
end

local function await_done(bench, host, name, seconds)
  local found
  bench:await(host.child, function()
    found = fan_out(host, name)
    return found and found.state == "done"
  end, seconds)
  return found
end

--- Users a second, from the event to the last of them.
local function time_one(bench, host, name, users)
  local before = host:scrape().kairos_fan_out_users_total or 0
  local began = socket.gettime()
  begin(host, name)
  bench:await(host.child, function()
    return (host:scrape().kairos_fan_out_users_total or 0) - before >= users
  end, 120)
  return users / (socket.gettime() - began)
end

local function load_users(bench)
  return bench.quick and 1000 or 20000
end

--- Latency of an even load of other events; with a fan-out from its middle on, if one is named.
local function latency(bench, host, sink, rate, name)
  local warm_up = bench.quick and 0.5 or 2
  local load = bench:start_load {
    port = host.port, sink = sink, batch = 1, connections = 64, hi = 10, users = load_users(bench), rate = rate,
    warm_up = warm_up, seconds = warm_up + bench.seconds,
  }
  socket.sleep(warm_up)
  if name then begin(host, name) end
  socket.sleep(bench.seconds)
  local reached = name and fan_out(host, name).reached or 0
  local result = load.result()
  if result.errors > 0 or result.accepted < result.events then
    error(("%d errors, %d of %d events accepted"):format(result.errors, result.accepted, result.events))
  end
  if name and fan_out(host, name).state ~= "done" then host:command("fanouts", "stop", fan_out(host, name).id) end
  return result, reached
end

--- Through kills; then each user is asked how often he was reached.
local function kills(bench, host, users, figures)
  local times = bench.quick and 1 or 10
  begin(host, "counted")
  local began = socket.gettime()
  for kill = 1, times do
    bench:await(host.child, function()
      local one = fan_out(host, "counted")
      return one and one.reached >= users * kill / (times + 1)
    end, 120)
    host:kill()
    host:launch()
    host:ready()
  end
  local one = await_done(bench, host, "counted", 120)
  figures.kills, figures.kills_reached, figures.kills_seconds = times, one.reached, socket.gettime() - began
  begin(host, "verified")
  one = await_done(bench, host, "verified", 120)
  local wrong = #host:ask("dead", "list")
  figures.kills_verified = one.reached - wrong
  if one.reached ~= users or wrong > 0 or figures.kills_reached ~= users then
    error(("%d users; %d reached through kills, %d asked, %d of them not reached exactly once"):format(users,
      figures.kills_reached, one.reached, wrong))
  end
end

local function run(bench)
  local users = bench.quick and 5000 or 100000
  write_rules(bench.directory)
  local sink = bench.free_port()
  local provider = bench:nginx { name = "sink", core = bench.LOAD_CORE, answer = '200 "ok"', port = sink }
  local host = bench:host { rules = bench.directory .. "/rules", sink = sink, concurrency = 32,
    config = "state: {write_behind: 1s, checkpoint_every: 2s}\n" }
  feed.all(bench, host, { events = users, users = users, batch = 500, connections = 8, types = "product.viewed",
    payload = '{"sku":"K1"}' })
  local figures = { users = users }
  figures.messages_a_second = time_one(bench, host, "message", users)
  bench:say("with a message each: %.0f users/s", figures.messages_a_second)
  figures.users_a_second = time_one(bench, host, "unpaced", users)
  bench:say("with an attribute each: %.0f users/s", figures.users_a_second)
  bench:await(host.child, function() return host:backlog() == 0 end, 120)
  bench:preload(host.port, load_users(bench), 2) -- or the load would wait for messages that nobody sends
  bench:stop(provider)

  figures.rate = bench.quick and 2000 or 15000
  local kinds = { { key = "alone" }, { key = "paced", name = "paced" }, { key = "unpaced", name = "unpaced" } }
  local turns = {}
  for _ = 1, bench.rounds do
    for _, kind in ipairs(kinds) do
      local result, reached = latency(bench, host, sink, figures.rate, kind.name)
      turns[kind.key] = turns[kind.key] or {}
      table.insert(turns[kind.key], result)
      figures[kind.key .. "_reached"] = reached
    end
  end
  for _, kind in ipairs(kinds) do
    for _, share in ipairs { "p50", "p99", "max" } do
      figures[("%s_%s_ms"):format(kind.key, share)] = bench.median(turns[kind.key], "answer_" .. share .. "_ms")
    end
  end
  figures.paced_p99_ratio = figures.paced_p99_ms / figures.alone_p99_ms
  figures.unpaced_p99_ratio = figures.unpaced_p99_ms / figures.alone_p99_ms
  kills(bench, host, users, figures)
  host:kill() -- the loads' sinks are gone: it would try to drain for as long as it may
  return figures
end

local function lines(figures)
  local function beside(key)
    return ("p50 %.2f, p99 %.2f, max %.1f ms"):format(figures[key .. "_p50_ms"], figures[key .. "_p99_ms"],
      figures[key .. "_max_ms"])
  end
  return {
    ("to %d users: %.0f a second with a message each, %.0f with an attribute each"):format(figures.users,
      figures.messages_a_second, figures.users_a_second),
    ("%.0f other events a second, one a POST, answered durable: %s"):format(figures.rate, beside "alone"),
    ("  … with a fan-out at its default pace: %s (%d users reached)"):format(beside "paced", figures.paced_reached),
    ("  … with one as fast as it goes: %s (%d users reached)"):format(beside "unpaced", figures.unpaced_reached),
    ("through %d kills: %d reached in %.1f s, each of %d once"):format(figures.kills, figures.kills_reached,
      figures.kills_seconds, figures.kills_verified),
  }
end

return { name = "fanout", title = "an event to a hundred thousand users: how fast, beside other events, through ten kills",
  run = run, lines = lines }
