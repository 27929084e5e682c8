-- Rules by people who mean harm, on the real host: each is stopped alone and named, and its neighbours notice nothing. The
-- attacks are those of spec/hostile/attacks.lua marked `daemon`; spec/c/test_engine_hostile.c runs all of them in the engine.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local socket = require "socket"

--- Line 4 is the first of the body, as in the engine's test.
local function rule(name, attack)
  return ([[
local kairos = require "kairos"
%s
return kairos.rule { name = "%s", on = "attack.%s", timers = { tick = function() end }, act = function(event, user) %s
%s
end }
]]):format(attack.top or "", name, name,
    -- Effects made before the failure must not survive it.
    'user:set("mark", event.id) user:once("mark", "1d") user:after("10ms", { name = "tick" })'
    .. ' user:send { channel = "push", template = "said", data = { text = "tainted" } }', attack[2])
end

local neighbour = [[
local kairos = require "kairos"
local function put(t, k, v) t[k] = v return t end
return kairos.rule { on = { "innocent", %s }, act = function(event, user)
  local made = {}
  for i = 1, 200 do made[i] = put({ a = i }, "x", i) end
  for key, value in pairs(event.payload) do put(made, key, value) end
  user:set("seen", (user.seen or 0) + 1)
  user:send { channel = "push", template = "said", data = { text = "fine " .. made[200].x .. " " .. event.payload.total } }
end }
]]

local attacks, names = {}, {}
for _, family in ipairs(dofile "spec/hostile/attacks.lua") do
  for _, attack in ipairs(family) do
    if attack.daemon then
      attack.title = family.family .. ": " .. attack[1]
      names[#names + 1] = ("a%02d"):format(#names + 1)
      attacks[names[#names]] = attack
    end
  end
end

--- MB of memory that the host's process has.
local function resident_of(host)
  return tonumber(files.read(("/proc/%d/status"):format(host.process.pid)):match "VmRSS:%s*(%d+) kB") / 1024
end

local payload = { total = 5, list = { 3, 1, 2 }, map = { b = 1, deep = { x = 1 } }, none = {} }

describe("a hostile rule", function()
  local host, resident
  setup(function()
    local rules, types = {}, {}
    for index, name in ipairs(names) do
      rules[name] = rule(name, attacks[name])
      types[index] = ('"attack.%s"'):format(name)
    end
    rules.zz_neighbour = neighbour:format(table.concat(types, ", "))
    -- What is harmless stays so where a sanitizer makes it slow.
    local budget = os.getenv "KAIROS_SANITIZED" and "200ms" or "20ms"
    host = Host.start { rules = rules, config = { workers = 1, rules = { memory = "16MB", budget = budget } } }
    resident = resident_of(host)
  end)
  teardown(function() host:remove() end)

  assert(#names >= 30, "the daemon is to meet a sample of each family")
  for _, name in ipairs(names) do
    local attack = attacks[name]
    it(attack.title .. (attack[3] == "harmless" and " does no harm" or " is stopped alone, and named"), function()
      local victim, bystander = "victim-" .. name, "bystander-" .. name
      local link, other = host:connect(), host:connect()
      link:send(http.request_bytes { body = Host.json(Host.event { type = "attack." .. name, user = victim, payload = payload }) })
      other:send(http.request_bytes { body = Host.json(Host.event { type = "innocent", user = bystander, payload = payload }) })
      local began = socket.gettime()
      assert.equal(202, other:answer().status)
      local stalled = socket.gettime() - began
      assert.equal(202, link:answer().status)
      -- 20 ms of budget, with room for a busy machine; the attacks would hold it for minutes.
      assert.is_true(stalled < 2 * Host.patience, ("another user's event waited %.0f ms"):format(stalled * 1000))

      assert.same({ "fine 200 5" }, host:said(bystander))
      if attack[3] == "harmless" then
        assert.same({ "fine 200 5", "tainted" }, host:said(victim, 2))
        return
      end
      assert.same({ "fine 200 5" }, host:said(victim))
      local letter
      for _, listed in ipairs(host:dead(1)) do
        if listed.campaign == name then letter = listed end
      end
      assert.truthy(letter, "no dead letter names it")
      assert.equal(victim, letter.user)
      letter = host:ask("dead", "show", letter.id)
      assert.equal(name .. "/rule.lua", letter.rule)
      assert.truthy(letter.error:find("rules/" .. name .. "/rule.lua:[24]"), letter.error)
      assert.truthy(letter.error:find "traceback", letter.error)
      assert.equal(1, letter.generation)
      local known = host:command("user", victim).out
      assert.falsy(known:find("mark", 1, true) or known:find("tick", 1, true), known)
    end)
  end

  it("wears nobody out: as many again, and the host is as it was", function()
    for round = 1, os.getenv "KAIROS_SANITIZED" and 1 or 3 do
      for _, name in ipairs(names) do
        local event = Host.event { type = "attack." .. name, user = ("worn-%d-%s"):format(round, name), payload = payload }
        assert.equal(202, host:post(event).status)
      end
    end
    host:accept { type = "innocent", user = "after-all", payload = payload }
    assert.same({ "fine 200 5" }, host:said "after-all")
    if not os.getenv "KAIROS_SANITIZED" then -- a sanitizer keeps what was freed
      local grown = resident_of(host) - resident
      assert.is_true(grown < 128, ("%.0f MB more than before"):format(grown))
    end
  end)

  it("is explained like any other", function()
    local shown = host:command("why", "victim-" .. names[1], "--replay").out
    assert.truthy(shown:find("used up its budget", 1, true), shown)
    assert.truthy(shown:find("zz_neighbour", 1, true), shown)
  end)

  it("leaves a directory that starts again", function()
    assert.equal(0, host:stop())
    host:run()
    host:accept { type = "innocent", user = "the-next-day", payload = payload }
    assert.same({ "fine 200 5" }, host:said "the-next-day")
  end)
end)

-- Only the first campaign was read-only once.
describe("each campaign of several", function()
  it("keeps no state between events", function()
    local rules = {}
    for _, name in ipairs { "a", "b", "c" } do
      rules[name] = ([[
        local kairos = require "kairos"
        local kept, count = {}, 0
        return kairos.rule { on = "x", act = function(event, user)
          local one = pcall(function() kept[1] = event.id end)
          local two = pcall(function() count = count + 1 end)
          user:send { channel = "push", template = "said", data = { text = "%s " .. tostring(one) .. tostring(two) } }
        end }]]):format(name)
    end
    local host = Host.start { rules = rules }
    finally(function() host:remove() end)
    host:accept { type = "x", user = "ada" }
    assert.same({ "a falsefalse", "b falsefalse", "c falsefalse" }, host:said("ada", 3))
  end)
end)

describe("a timer that sets itself again", function()
  it("ends a simulation all the same", function()
    local host = Host.new { rules = { again = [[
      local kairos = require "kairos"
      return kairos.rule { on = "x", act = function(event, user) user:after("1ms", { name = "tick" }) end,
        timers = { tick = function(timer, user) user:after("1ms", { name = "tick" }) end } }]] } }
    finally(function() host:remove() end)
    local events = host.directory .. "/events.ndjson"
    files.write(events, Host.ndjson { Host.event { type = "x", user = "ada", at = 1700000000000 },
      Host.event { type = "y", user = "ada", at = 1700000010000 } })
    local result = host:command("simulate", "--events", events)
    assert.equal(0, result.status, result.err)
    assert.truthy(result.err:find(" 9999 timers", 1, true) or result.err:find(" 10000 timers", 1, true), result.err)
  end)
end)
