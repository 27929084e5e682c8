--- Row: what new rules cost while events come in, how soon a save serves, and what a thousand reloads leave in memory.
--
-- A hundred campaigns (ten with --quick) with a spec each lie beside the reference rule, whose load (100 events a POST) comes
-- at half of what the host can take, by turns with and without a save a second. All of the host, the canary's child processes
-- included, has core 0. One event a POST would not do: beside a busy child the host answers each at once, and then it is the
-- load's own core that is full.
local socket = require "socket"
local files = require "spec.functional.support.files"

local RULE = [[
local kairos = require "kairos"
local views = kairos.window { of = "product.viewed", by = "payload.sku", over = "10m" }
return kairos.rule {
  name = "%s",
  on = "product.viewed",
  when = function(event, user) return user:count(views, event.payload.sku) >= 3 end,
  act = function(event, user)
    user:send { channel = "email", template = "offer", data = { sku = event.payload.sku }, once_per = "7d",
      purpose = "marketing", cap = "3/7d" }
  end,
}
]]

local TEMPLATE = [[
---
subject: "Still interested in {{sku}}?"
from: "Shop <hello@shop.example>"
---
<p>You have looked at <b>{{sku}}</b> three times. Can we help?</p>
]]

local SPEC = [[
local sim = require "kairos.spec"
describe("%s", function()
  it("offers help at the third view", function()
    local host = sim.host { rules = "rules/%s" }
    host:event { type = "identify", user = "ada", payload = { email = "ada@mail.example" } }
    for _ = 1, 3 do host:event { type = "product.viewed", user = "ada", payload = { sku = "K1" } } end
    assert.sent(host, 1)
  end)
end)
]]

local function name_of(index)
  return ("c%03d"):format(index)
end

local saves = 0
local function save(bench, index)
  saves = saves + 1
  files.write(("%s/rules/%s/rule.lua"):format(bench.directory, name_of(index)),
    RULE:format(name_of(index)) .. "-- Saved " .. saves .. " times.\n")
end

local function write_campaigns(bench, count)
  files.write(bench.directory .. "/rules/reference/rule.lua", files.read "tools/bench.d/rules/reference/rule.lua")
  files.write(bench.directory .. "/rules/reference/cart.json", files.read "tools/bench.d/rules/reference/cart.json")
  for index = 1, count do
    save(bench, index)
    files.write(("%s/rules/%s/offer.html"):format(bench.directory, name_of(index)), TEMPLATE)
    files.write(("%s/spec/rules/%s_spec.lua"):format(bench.directory, name_of(index)),
      SPEC:format(name_of(index), name_of(index)))
  end
end

local function generation(host)
  return host:scrape().kairos_generation
end

--- Save, and wait until what was saved serves. @return ms
local function save_to_live(bench, host, count)
  local before = generation(host)
  for index = 1, count do save(bench, index) end
  local began = socket.gettime()
  bench:await(host.child, function()
    socket.sleep(0.001)
    return generation(host) > before
  end, 60)
  return (socket.gettime() - began) * 1000
end

--- One turn of load; with saves, one a second.
local function turn(bench, host, sink, rate, users, saving)
  local seconds, warm_up = bench.seconds, bench.quick and 0.5 or 2
  local load = bench:start_load {
    port = host.port, sink = sink, batch = 100, connections = 16, hi = 100, users = users, rate = rate,
    warm_up = warm_up, seconds = warm_up + seconds,
  }
  local before = generation(host)
  local till = socket.gettime() + warm_up + seconds
  while socket.gettime() < till do
    if saving then save(bench, 1) end
    socket.sleep(1)
  end
  local result = load.result()
  result.reloads = generation(host) - before
  return result
end

local function measure_load(bench, figures)
  local sink, users = bench.free_port(), bench.quick and 5000 or 100000
  local host = bench:host { name = "host-load", sink = sink, concurrency = 32, rules = bench.directory .. "/rules" }
  bench:preload(host.port, users, 2)
  local shown = (bench.results.batch or {}).kairos_events
  if not shown then
    local result = bench:load { port = host.port, sink = sink, batch = 100, connections = 16, hi = 100, users = users,
      seconds = bench.quick and 0.3 or 4 }
    shown = result.accepted / result.seconds
  end
  figures.rate = shown / 2
  local turns = { still = {}, saving = {} }
  for _ = 1, bench.rounds do
    for _, kind in ipairs { "still", "saving" } do
      local result = turn(bench, host, sink, figures.rate, users, kind == "saving")
      if result.errors > 0 or result.accepted < result.events or result.delivered ~= result.asked then
        figures.invalid = ("%d errors, %d of %d events accepted, %d of %d messages"):format(result.errors, result.accepted,
          result.events, result.delivered, result.asked)
      end
      table.insert(turns[kind], result)
    end
  end
  for kind, list in pairs(turns) do
    for _, share in ipairs { "p50", "p99", "p999", "max" } do
      figures[kind .. "_" .. share .. "_ms"] = bench.median(list, "answer_" .. share .. "_ms")
    end
  end
  figures.reloads = 0
  for _, result in ipairs(turns.saving) do figures.reloads = figures.reloads + result.reloads end
  figures.p99_ratio = figures.saving_p99_ms / figures.still_p99_ms
  host:stop()
end

local function measure_live(bench, figures)
  local host = bench:host { name = "host-live", rules = bench.directory .. "/rules" }
  local one, all = {}, {}
  socket.sleep(1)
  for _ = 1, bench.quick and 1 or 20 do one[#one + 1] = save_to_live(bench, host, 1) end
  for _ = 1, bench.quick and 1 or 5 do all[#all + 1] = save_to_live(bench, host, figures.campaigns) end
  figures.live_one_ms, figures.live_all_ms = bench.median(one), bench.median(all)
  figures.live_one_max_ms, figures.live_all_max_ms = math.max(unpack(one)), math.max(unpack(all))
  host:stop()
end

--- By command, so that no time passes in waiting for the files to be quiet.
local function measure_memory(bench, figures)
  local host = bench:host { name = "host-memory", rules = bench.directory .. "/rules",
    config = "rules: {watch: false}\n" }
  local function reload(times)
    for _ = 1, times do
      save(bench, 1)
      host:command "reload"
    end
    socket.sleep(0.5)
    return bench.rss_bytes(host.child.pid)
  end
  local count = bench.quick and 3 or 1000
  local warm = reload(count / 10)
  figures.memory_reloads = count
  figures.memory_before = warm
  figures.memory_after = reload(count)
  host:stop()
end

return {
  name = "reload",
  title = "new rules while events come in; from save to serving; memory after a thousand reloads",
  run = function(bench)
    local figures = { campaigns = bench.quick and 10 or 100 }
    write_campaigns(bench, figures.campaigns)
    measure_load(bench, figures)
    measure_live(bench, figures)
    files.remove(bench.directory .. "/rules")
    files.remove(bench.directory .. "/spec")
    write_campaigns(bench, 1)
    measure_memory(bench, figures)
    return figures
  end,
  lines = function(figures)
    local function spread(kind)
      return ("p50 %.2f, p99 %.2f, p99.9 %.2f, longest %.1f ms"):format(figures[kind .. "_p50_ms"],
        figures[kind .. "_p99_ms"], figures[kind .. "_p999_ms"], figures[kind .. "_max_ms"])
    end
    local lines = {
      ("%.0f events/s, due -> answered, durable; without a reload: %s"):format(figures.rate, spread "still"),
      ("%d reloads among %d campaigns meanwhile:                  %s"):format(figures.reloads, figures.campaigns,
        spread "saving"),
      ("from save to serving, %d campaigns with specs: one saved %.0f ms (at most %.0f), all saved %.0f ms (at most %.0f)")
        :format(figures.campaigns, figures.live_one_ms, figures.live_one_max_ms, figures.live_all_ms, figures.live_all_max_ms),
      ("memory: %.1f MB, after %d more reloads %.1f MB"):format(figures.memory_before / 2 ^ 20, figures.memory_reloads,
        figures.memory_after / 2 ^ 20),
    }
    if figures.invalid then lines[#lines + 1] = "INVALID: " .. figures.invalid end
    return lines
  end,
}
