--- Turns of one load at the host and at its peers: what the rows `single` and `batch` share.
--
-- Of each server, all others frozen: a turn of load, then its backlog and what it delivered meanwhile, then a wait until
-- nothing waits any more. A rate counts only while deliveries keep pace: with a second's worth of them, or more, left at the
-- end of a turn, or with errors, or with messages lost or not asked for, it is marked invalid.
--
-- What the host does every 30 s (writing records behind) came due while it was frozen, and so falls into each of its turns:
-- turns of 30 s weigh it as daily use would, shorter ones too heavily.
local process = require "spec.functional.support.process"
local socket = require "socket"

local throughput = {}

local WARM_UP = 2

--- One turn. @return figures of it
local function turn(bench, server, load, seconds)
  for _, child in ipairs(server.children) do bench:thaw(child) end
  local cpu, before = 0, server.counts and server.counts()
  local busy = bench.core_busy(bench.SERVER_CORE)
  for _, child in ipairs(server.children) do cpu = cpu - bench.cpu_seconds(child.pid) end
  local began = socket.gettime()
  local result = bench:wrk {
    port = server.port, path = server.path, batch = load.batch, connections = load.connections, hi = load.hi, seconds = seconds,
    users = load.users,
  }
  local after = server.counts and server.counts()
  local lasted = socket.gettime() - began
  for _, child in ipairs(server.children) do cpu = cpu + bench.cpu_seconds(child.pid) end
  result.cpu, result.cpu_us = cpu / lasted, cpu / (result.requests * load.batch) * 1e6
  result.foreign = (bench.core_busy(bench.SERVER_CORE) - busy - cpu) / lasted
  if after then
    result.accepted = (after.accepted - before.accepted)
    result.delivered = (after.delivered - before.delivered)
    result.delivery_rate = result.delivered / lasted
    result.backlog = after.waiting
    result.backlog_seconds = after.waiting == 0 and 0 or after.waiting / math.max(result.delivery_rate, 1e-9)
    local idle = process.eventually(120, function() return server.counts().waiting == 0 end)
    if not idle then error(server.label .. " does not get rid of its messages") end
    local final = server.counts()
    -- Of what was accepted: wrk's last requests are cut off, so its own count is not exact.
    result.messages = final.delivered - before.delivered
    result.lost = final.lost - before.lost
    result.accepted = final.accepted - before.accepted
  end
  for _, child in ipairs(server.children) do bench:freeze(child) end
  return result
end

--- Why the figure of a turn does not count, or nil.
local function problem(result, load)
  if result.errors > 0 then return ("%d errors"):format(result.errors) end
  if not result.accepted then return nil end
  if result.lost > 0 then return ("%d messages lost"):format(result.lost) end
  if result.backlog_seconds >= 1 then return ("deliveries %.1f s behind"):format(result.backlog_seconds) end
  local wanted = result.accepted / load.hi
  if math.abs(result.messages / wanted - 1) > 0.02 then
    return ("%d messages for %d events"):format(result.messages, result.accepted)
  end
end

--- @param load  batch, connections, hi
-- @param starters  functions (bench, sink) that start a server; Kairos is the first
-- @return flat figures: NAME_events, NAME_p50_ms, NAME_p99_ms, ratio_NAME = Kairos' rate over that one's …
function throughput.run(bench, load, starters)
  load.users = bench.quick and 5000 or 100000
  local sink = bench:sink()
  local servers, figures = {}, { batch = load.batch, connections = load.connections, messages_one_in = load.hi }
  local labels, skipped = {}, {}
  for _, starter in ipairs(starters) do
    local server, reason = starter.start(bench, sink)
    if server then
      servers[#servers + 1] = server
      -- Every user has two carts behind him, so that the rule's count is met from the start.
      if server.counts then bench:preload(server.port, load.users, 2) end
      if not bench.quick then turn(bench, server, load, WARM_UP) end
    else
      skipped[#skipped + 1] = starter.label .. ": " .. reason
    end
  end
  local turns = {}
  for round = 1, bench.rounds do
    turns[round] = {}
    -- There and back, so that a drift of the machine falls on all alike.
    for step = 1, #servers do
      local server = servers[round % 2 == 1 and step or #servers + 1 - step]
      local result = turn(bench, server, load, bench.seconds)
      turns[round][server.name] = result
      bench:say("round %d, %s: %.0f events/s", round, server.label, result.events)
    end
  end
  for index, server in ipairs(servers) do
    local list, ratios, why = {}, {}, nil
    for round = 1, bench.rounds do
      list[round] = turns[round][server.name]
      ratios[round] = turns[round].kairos.events / list[round].events
      why = why or problem(list[round], load)
    end
    local name = server.name
    labels[index] = name .. "=" .. server.label
    figures[name .. "_events"] = bench.median(list, "events")
    figures[name .. "_p50_ms"] = bench.median(list, "p50")
    figures[name .. "_p99_ms"] = bench.median(list, "p99")
    figures[name .. "_cpu"] = bench.median(list, "cpu")
    figures[name .. "_cpu_us"] = bench.median(list, "cpu_us")
    figures[name .. "_load_core"] = bench.median(list, "busy")
    figures[name .. "_foreign"] = bench.median(list, "foreign")
    figures[name .. "_invalid"] = why
    if server.counts then
      figures[name .. "_deliveries"] = bench.median(list, "delivery_rate")
      figures[name .. "_backlog_seconds"] = bench.median(list, "backlog_seconds")
    end
    if name ~= "kairos" then
      figures["ratio_" .. name] = bench.median(ratios)
      table.sort(ratios)
      figures[name .. "_least"], figures[name .. "_most"] = ratios[1], ratios[#ratios]
    end
  end
  figures.servers = table.concat(labels, "\n")
  if #skipped > 0 then figures.skipped_servers = table.concat(skipped, "\n") end
  return figures
end

function throughput.lines(figures)
  local lines = { ("%-28s %9s %8s %8s %6s %9s %12s %8s  %s"):format("", "events/s", "p50 ms", "p99 ms", "CPU",
    "us/event", "deliveries/s", "behind s", "Kairos : it") }
  for name, label in figures.servers:gmatch "([^\n=]+)=([^\n]+)" do
    local function number(field, format)
      local value = figures[name .. field]
      return value and format:format(value) or "-"
    end
    local ratio = figures["ratio_" .. name]
    lines[#lines + 1] = ("%-28s %9.0f %8.2f %8.2f %4.0f %% %9.1f %12s %8s  %s"):format(label, figures[name .. "_events"],
      figures[name .. "_p50_ms"], figures[name .. "_p99_ms"], figures[name .. "_cpu"] * 100, figures[name .. "_cpu_us"],
      number("_deliveries", "%.0f"), number("_backlog_seconds", "%.2f"),
      ratio and ("%.2f (%.2f to %.2f)"):format(ratio, figures[name .. "_least"], figures[name .. "_most"]) or "")
    if figures[name .. "_invalid"] then lines[#lines + 1] = "  INVALID: " .. figures[name .. "_invalid"] end
    if figures[name .. "_load_core"] > 0.97 then
      lines[#lines + 1] = ("  the load's core was %.0f %% busy: the load, not the server, may be the limit"):format(
        figures[name .. "_load_core"] * 100)
    end
    if figures[name .. "_foreign"] > 0.05 then
      lines[#lines + 1] = ("  %.0f %% of the server's core went to something else"):format(figures[name .. "_foreign"] * 100)
    end
  end
  for line in (figures.skipped_servers or ""):gmatch "[^\n]+" do lines[#lines + 1] = "skipped: " .. line end
  return lines
end

return throughput
