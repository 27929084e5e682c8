--- Users who come into an experiment: how many a second, what counting them takes, and what others wait for it meanwhile.
local socket = require "socket"
local files = require "spec.functional.support.files"
local feed = dofile "tools/bench.d/feed.lua"

local RULE = [[
local kairos = require "kairos"
local subject_line = kairos.experiment {
  name = "subject_line", variants = { plain = 50, urgent = 50 },
  goal = { on = "order.completed", within = "7d", value = "payload.total" },
}
return kairos.rule { name = "greet", on = "cart.updated", act = function(event, user) user:variant(subject_line) end }
]]

--- Post far less than the host takes. @return the load's figures
local function quiet(bench, host, rate, meanwhile)
  local load = bench:start_load { port = host.port, batch = 1, connections = 16, rate = rate, seconds = bench.seconds + 1,
    warm_up = 1, hi = 0, users = 1000 }
  if meanwhile then meanwhile(load) end
  return load.result()
end

local function run(bench)
  local users = bench.quick and 5000 or 1000000
  files.write(bench.directory .. "/rules/greet/rule.lua", RULE)
  local host = bench:host { name = "experiments", rules = bench.directory .. "/rules" }
  local function post(type)
    return feed.all(bench, host, { events = users, batch = 500, connections = 8, users = users, types = type,
      payload = '{"total":12.5}' })
  end
  local came, reached = post "cart.updated", post "order.completed"
  local function count()
    local before = socket.gettime()
    local experiment = host:ask("experiments").experiments[1]
    assert(experiment.exposures >= users and experiment.goals >= users, "not everybody is counted")
    return socket.gettime() - before
  end
  count()
  local alone = count()
  local rate = 2000
  local before = quiet(bench, host, rate)
  local counts, worst = 0, 0
  local during = quiet(bench, host, rate, function()
    local ends = socket.gettime() + bench.seconds
    while socket.gettime() < ends do
      worst = math.max(worst, count())
      counts = counts + 1
    end
  end)
  host:stop()
  return {
    users = users, exposures_per_second = came.accepted / came.seconds, goals_per_second = reached.accepted / reached.seconds,
    count_seconds = alone, count_seconds_under_load = worst, counts = counts, rate = rate,
    p99_ms = before.answer_p99_ms, p99_ms_counting = during.answer_p99_ms,
  }
end

local function lines(figures)
  return {
    ("%d users came into an experiment at %.0f/s, and reached its goal at %.0f/s"):format(figures.users,
      figures.exposures_per_second, figures.goals_per_second),
    ("kairos experiments: %.2f s alone; at most %.2f s of %d, one after the other, beside %d events/s"):format(
      figures.count_seconds, figures.count_seconds_under_load, figures.counts, figures.rate),
    ("those events, last byte to durable, p99: %.1f ms, while counting %.1f ms"):format(figures.p99_ms, figures.p99_ms_counting),
  }
end

return { name = "experiments", title = "users in an experiment, counting a million of them beside events", run = run,
  lines = lines }
