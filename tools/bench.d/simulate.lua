--- `kairos simulate` on the reference rule, beside the same events taken in live, in the same run.
local socket = require "socket"
local feed = dofile "tools/bench.d/feed.lua"

--- @return events a second, all that the process does included: reading the file, loading the rules
local function simulate(bench, path, count)
  local began = socket.gettime()
  local result = bench:run {
    core = bench.SERVER_CORE, seconds = 300,
    command = { bench.binary, "simulate", "--rules", "tools/bench.d/rules", "--events", path },
  }
  local lasted = socket.gettime() - began
  local events, sends = result.err:match "^(%d+) events.* (%d+) to send"
  assert(tonumber(events) == count, "simulate said: " .. result.err)
  assert(tonumber(sends) > 0, "the rule sent nothing")
  return count / lasted
end

local function run(bench)
  local count, users = bench.quick and 100000 or 1000000, bench.quick and 10000 or 100000
  -- Over five minutes, so that all of them are in the rule's ten.
  local path = feed.write(bench, feed.reference {
    events = count, users = users, random = 1, from = socket.gettime() * 1000 - 10 * 60 * 1000, over = 5 * 60 * 1000,
  })
  local host = bench:host { sink = bench:sink().port }
  local simulated, lived, ratios = {}, {}, {}
  for round = 1, bench.rounds do
    bench:freeze(host.child)
    simulated[round] = simulate(bench, path, count)
    bench:thaw(host.child)
    local fed = feed.all(bench, host, feed.reference { events = count, users = users, random = round })
    lived[round] = count / fed.seconds
    ratios[round] = simulated[round] / lived[round]
    bench:say("round %d: simulated %.0f events/s, live %.0f", round, simulated[round], lived[round])
  end
  local batch = bench.results.batch
  return {
    events = count, users = users, simulated_events = bench.median(simulated), live_events = bench.median(lived),
    ratio_live = bench.median(ratios), batch_events = batch and batch.kairos_events,
  }
end

local function lines(figures)
  local list = {
    ("%d events of %d users: %.0f events/s from a file, its reading included; %.0f live; ratio %.2f"):format(figures.events,
      figures.users, figures.simulated_events, figures.live_events, figures.ratio_live),
  }
  if figures.batch_events then list[2] = ("the row `batch` had %.0f events/s"):format(figures.batch_events) end
  return list
end

return { name = "simulate", title = "history from a file, on the reference rule, beside the same events live", run = run,
  lines = lines }
