-- Journeys on a virtual clock: what each word does, and what is said where it is used wrongly.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")

describe("a journey", function()
  local directory
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Run the body of one test over a journey. @return its status and its message
  local function story(fields, run, body, more, config)
    local head = 'local kairos = require "kairos"\nlocal seen = kairos.window { of = "seen", over = "1d" }\n' .. (more or "")
    files.write(directory .. "/rules/j/rule.lua", head .. "return kairos.journey {\n  name = \"j\", " .. fields
      .. "\n  run = function(journey, user, event)\nlocal function say(text) return journey:send { channel = \"push\", to = \"p\", "
      .. "template = \"said\", data = { text = tostring(text) } } end\n" .. run .. "\nend }\n")
    files.write(directory .. "/rules/j/said.txt", "{{{text}}}\n")
    files.write(directory .. "/spec/rules/j_spec.lua", 'local sim = require "kairos.spec"\nit("x", function()\n'
      .. 'local host = sim.host { rules = "rules/j", config = ' .. (config or "nil") .. ' }\n'
      .. 'local function event(type, payload, user) host:event { type = type, user = user or "ada", payload = payload } end\n'
      .. 'local function said() local all = {} for i, m in ipairs(host:sent()) do all[i] = m.text:gsub("%s+$", "") end '
      .. 'return table.concat(all, ",") end\n'
      .. 'local function journeys(user) return (host:user(user or "ada") or {}).journeys or {} end\n'
      .. 'local function ended() return host:story("ada"):match "the journey j[^,\\n]* is ([^\\n]*)" end\n'
      .. body .. "\nend)\n")
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary .. " spec --json" },
      seconds = 60 * Host.patience }
    local ok, answer = pcall(cjson.decode, result.out)
    if not ok then return "failed", result.out .. result.err end
    local test = answer.files[1].tests[1]
    if not test then return "failed", answer.files[1].error or result.out end
    return test.status == "passed" and "passed" or "failed", test.message
  end
  local function passes(...)
    local status, message = story(...)
    assert.equal("passed", status, message)
  end
  --- The first dead letter's error has this.
  local function fails(fields, run, wanted, body, more)
    passes(fields, run, (body or 'event("go", {})') .. "\nlocal letter = host:dead()[1]\nassert(letter, 'nothing failed')\n"
      .. "assert.truthy(letter.error:find(" .. ("%q"):format(wanted) .. ", 1, true), letter.error)", more)
  end
  --- The file does not load, and this is said.
  local function refused(fields, wanted)
    local status, message = story(fields, "", "")
    assert.equal("failed", status)
    assert.truthy(message:find(wanted, 1, true), message)
  end
  local start = 'start = { on = "go" },'

  describe("waits", function()
    it("for a time", function()
      passes(start, 'say(1) journey:wait "1h" say(2) journey:wait "1d" say(3)', [[
        event("go")
        assert.equal("1", said())
        host:advance "59m59s"
        assert.equal("1", said())
        host:advance "1s"
        assert.equal("1,2", said())
        host:advance "1d"
        assert.equal("1,2,3", said())
        assert.same({}, journeys())]])
    end)
    it("till a moment, as people say it where the user lives, or in milliseconds", function()
      passes(start, [[
        journey:wait_until "next weekday 09:00"
        say "monday"
        journey:wait_until(event.payload.at)
        say "then"
        journey:wait_until(event.payload.at)
        say "at once"]], [[
        host:profile { user = "ada", time_zone = "America/New_York" }
        host:at "2026-06-05 20:00"
        event("go", { at = 1782000000000 })
        host:at "2026-06-08 12:59"
        assert.equal("", said())
        host:at "2026-06-08 13:00"
        assert.equal("monday", said())
        host:advance "5d"
        assert.equal("monday", said())
        host:at(1782000000000)
        assert.equal("monday,then,at once", said())]])
    end)
    it("for the first of several events, and gets it", function()
      passes(start, [[
        local one = journey:wait_for { on = { "a", "b" }, within = "1h",
          where = function(e, j) return e.payload.n > j.event.payload.n end }
        say(one and one.type .. one.payload.n or "none")
        local two = journey:wait_for { on = "a", within = "1h" }
        say(two and two.payload.n or "none")
        say(one and one.user == user.id and one.payload.n or "gone")]], [[
        event("go", { n = 5 })
        event("a", { n = 5 })
        event("c", { n = 9 })
        event("b", { n = 5 })
        assert.equal("", said())
        event("b", { n = 6 })
        assert.equal("b6", said())
        host:advance "2h"
        assert.equal("b6,none,6", said())]])
    end)
    it("for an event without a limit in time, and for none that came too late", function()
      passes(start, [[
        journey:wait_for { on = "a" }
        say "a"
        say(journey:wait_for { on = "a", within = "1h" } and "again" or "no")]], [[
        event("go", {})
        host:advance "300d"
        event("a", {})
        assert.equal("a", said())
        host:advance "61m"
        event("a", {})
        assert.equal("a,no", said())]])
    end)
    it("not at all where the moment is over already", function()
      passes(start, 'journey:wait_until "2026-01-01 09:00" say(1)', [[
        event("go", {})
        assert.equal("1", said())]])
    end)
  end)

  describe("gets from the host", function()
    it("the same at each resume, whatever has changed since", function()
      passes(start, [[
        local first, name, dice = user:count(seen), user.name, math.random(1000000)
        journey:wait "1h"
        say(first .. name .. (user:count(seen)) .. user.name)
        journey:wait "1h"
        say(first .. name .. tostring(dice == math.random(1000000)))
        local _, again = nil, dice
        say(again == dice)]], [[
        host:profile { user = "ada", name = "Ada" }
        event("seen", {})
        event("go", {})
        event("seen", {})
        host:profile { user = "ada", name = "Eve" }
        host:advance "3h"
        assert.equal("1Ada2Eve,1Adafalse,true", said())
        assert.same({}, host:dead())]])
    end)
    it("the same dice, whatever a `where` has thrown meanwhile", function()
      passes(start, [[
        local one = math.random(1000000)
        journey:wait_for { on = "x", where = function() return math.random() >= 0 end }
        local two = math.random(1000000)
        say(two)
        journey:wait "1h"
        say(two)
        say(math.random(1000000) ~= two and one ~= two)]], [[
        event("go", {}) event("x", {})
        host:advance "1h"
        local first, second, other = said():match "^(%d+),(%d+),(.*)$"
        assert.equal(first, second)
        assert.equal("true", other)]])
    end)
    it("marks, throttles, consents and attributes that it sets, once", function()
      passes(start, [[
        local once, few = user:once("k", "30d"), user:allow(rare)
        local consents = user:consents "marketing"
        journey:set("stage", "one")
        journey:wait "1h"
        say(tostring(once) .. tostring(few) .. tostring(consents) .. tostring(user:once("k", "30d"))
          .. tostring(user:allow(rare)) .. user.stage)
        user:set("stage", "two")
        journey:wait "1h"
        say(user.stage)]], [[
        event("go", {})
        host:profile { user = "ada", stage = "other" }
        host:advance "3h"
        assert.equal("truetruetruefalsefalseother,two", said())]],
        'local rare = kairos.throttle { name = "rare", rate = "1/7d" }\n')
    end)
    it("its own time: what it was when its last wait ended", function()
      passes(start, [[
        local began = kairos.now()
        journey:wait "1h"
        local after = kairos.now()
        journey:wait_for { on = "x" }
        say((after - began) / 60000)
        say((kairos.now() - began) / 60000)
        say(began == journey.begun)]], [[
        event("go", {})
        host:advance "3h"
        event("x", {})
        assert.equal("60,180,true", said())]])
    end)
    it("the host's time zone, which another configuration may name otherwise", function()
      passes(start, [[
        local first = date.zone(user)
        local day = date.start_of(journey.begun, "day")
        journey:wait "1h"
        say(first .. (journey.begun - day) / 3600000)
        say(date.zone(user))]], [[
        event("go", {})
        host:advance "1h"
        assert.equal("UTC12,UTC", said())
        assert.equal(0, #host:dead())]], "local date = kairos.date\n")
    end)
    it("the event that began it, its key as the event has it, and the user", function()
      passes('start = { on = "go" }, key = "payload.cart.id",', [[
        journey:wait "1h"
        say(type(journey.key) .. journey.key)
        say(event == journey.event)
        say(event.payload.cart.items[2] .. event.type .. user.id)]], [[
        event("go", { cart = { id = 7, items = { "x", "y" } } })
        host:advance "1h"
        assert.equal("number7,true,ygoada", said())]])
    end)
    it("the gate's answer to what it sends", function()
      passes(start, [[
        for i = 1, 2 do
          local ok, why = journey:send { channel = "push", to = "p", template = "said", data = { text = i }, once_per = "1d" }
          journey:wait "1h"
          say(tostring(ok) .. tostring(why))
        end]], [[
        event("go", {})
        host:advance "3h"
        assert.equal("1,truenil,falseonce_per", said())]])
    end)
  end)

  describe("splits users", function()
    it("by weight, each for good, and a weight that grows loses nobody", function()
      passes(start, [[
        local ten = journey:split { name = "offer", a = 10, b = 90 }
        local half = journey:split { name = "offer", a = 50, b = 50 }
        local three = journey:split { name = "offer", a = 10, b = 90, c = 100 }
        journey:wait "1h"
        say(ten .. half .. three .. journey:split { name = "offer", a = 10, b = 90 })]], [[
        local count = { a = 0, b = 0 }
        for i = 1, 400 do event("go", {}, "u" .. i) end
        host:advance "1h"
        for _, m in ipairs(host:sent()) do
          local ten, half, three, again = m.text:match "(.)(.)(.)(.)"
          count[ten] = count[ten] + 1
          assert.equal(ten, again)
          assert.truthy(ten == "b" or half == "a")
          assert.truthy(three == "c" or three == ten)
        end
        assert.truthy(count.a > 20 and count.a < 65, count.a)]])
    end)
  end)

  describe("with a key", function()
    local body = [[
      event("go", { id = 1 }) event("go", { id = 2 })
      host:advance "30m"
      event("go", { id = 1 })
      host:advance "45m" ]]
    local run = 'journey:wait "1h" say(event.payload.id)'
    it("is one a value; another start is ignored", function()
      passes('start = { on = "go" }, key = "payload.id",', run, body .. 'assert.equal("1,2", said()) assert.same({}, journeys())')
    end)
    it("starts anew with again = restart", function()
      passes('start = { on = "go" }, key = "payload.id", again = "restart",', run,
        body .. 'assert.equal("2", said()) host:advance "1h" assert.equal("2,1", said())')
    end)
    it("goes on beside it with again = parallel", function()
      passes('start = { on = "go" }, key = "payload.id", again = "parallel",', run,
        body .. 'assert.equal("1,2", said()) host:advance "1h" assert.equal("1,2,1", said())')
    end)
    it("emits events of its own, also where another is due at the same moment", function()
      passes('start = { on = "go" }, key = "payload.id", again = "parallel",',
        'journey:wait_until "09:00" journey:emit { type = "seen", payload = {} }', [[
          event("go", { id = 1 }) event("go", { id = 1 })
          host:advance "1d"
          local ids = {}
          for _, message in ipairs(host:sent()) do ids[message.message_id] = true end
          assert.equal("heard,heard", said())
          local count = 0
          for _ in pairs(ids) do count = count + 1 end
          assert.equal(2, count)]], [[
          local real = kairos
          local kairos = { journey = function(fields)
            return { real.journey(fields), real.rule { name = "hears", on = "seen", act = function(_, user)
              user:send { channel = "push", to = "p", template = "said", data = { text = "heard" } }
            end } }
          end }
        ]])
    end)
    it("does not start without it, and says so", function()
      passes('start = { on = "go" }, key = "payload.id",', run, [[
        event("go", { idd = 1 })
        assert.same({}, journeys())
        assert.equal("the event has no payload.id of at most 256 letters, which is the journey's key", host:runs()[1].reason)]])
    end)
    it("is one a user without any", function()
      passes(start, run, body .. 'assert.equal("1", said())')
    end)
  end)

  describe("ends", function()
    it("by an event, wherever it is, at once", function()
      passes([[start = { on = "go" }, key = "payload.id",
        exit = { on = "bought", where = function(e, j) return e.payload.id == j.key end },]],
        'journey:wait "1h" say(journey.key)', [[
        event("go", { id = 1 }) event("go", { id = 2 })
        event("bought", { id = 2 })
        assert.equal(1, #journeys())
        assert.equal("exited: bought", ended())
        host:advance "2h"
        assert.equal("1", said())]])
    end)
    it("by any of several exits", function()
      passes('start = { on = "go" }, exit = { { on = { "x", "y" } }, { on = "z", where = function() return true end } },',
        'journey:wait "1h" say "no"', [[
        event("go", {}) event("y", {}) event("go", {}) event("z", {})
        host:advance "2h"
        assert.equal("", said())]])
    end)
    it("by an exit rather than to get the event that it waits for", function()
      passes('start = { on = "go" }, exit = { on = "x" },', 'journey:wait_for { on = "x" } say "no"', [[
        event("go", {}) event("x", {})
        assert.equal("", said())
        assert.same({}, journeys())]])
    end)
    it("when its function does, and is watched for its goal as long as that may be reached", function()
      passes('start = { on = "go" }, goal = { on = "bought", within = "2d" },', 'journey:wait "1h" say(1)', [[
        event("go", {})
        host:advance "2h"
        assert.equal("watching", journeys()[1].state)
        event("go", {})
        assert.equal(2, #journeys())
        event("bought", {})
        host:advance "1h"
        assert.equal("finished: bought", ended())
        host:advance "5d"
        assert.same({}, journeys())]])
    end)
    it("by a goal whose `where` fails with a dead letter, and watches on", function()
      passes('start = { on = "go" }, goal = { on = "bought", within = "2d", where = function(e) return e.payload.n.m > 1 end },',
        'journey:wait "1h" say(1)', [[
        event("go", {})
        host:advance "2h"
        event("bought", {})
        assert.equal(1, #host:dead())
        assert.truthy(host:dead()[1].error:find "rule.lua:%d+: attempt to index")
        assert.equal("watching", journeys()[1].state)
        event("bought", { n = { m = 2 } })
        assert.equal("finished: bought", ended())
        assert.equal(1, #host:dead())]])
    end)
  end)

  describe("that ended before what the gate deferred could go", function()
    local night = '{ purposes = { { name = "offers", quiet_hours = "21:00-08:00", caps = { "1/1d" } } } }'
    local fields = 'start = { on = "go" }, key = "payload.id", again = "restart", exit = { on = "stop" },'
    local sends = [[
      journey:send { channel = "push", to = "p", template = "said", purpose = "offers", once_per = "7d",
        data = { text = event.payload.id } }
      if event.payload.waits then journey:wait "20h" end]]
    local function of_night(body) passes(fields, sends, 'host:at "2026-06-01 22:00"\n' .. body, nil, night) end

    it("by its exit takes it back, and its place with it", function()
      of_night [[
        event("go", { id = "c1", waits = true })
        assert.held_back(host, { by = "quiet_hours", waits_until = "2026-06-02 08:00" })
        event("stop", {})
        host:advance "1m"
        assert.held_back(host, { by = "cancelled", because = "the journey ended before it could go: exit on stop" })
        event("go", { id = "c2", waits = true })
        host:at "2026-06-02 08:00"
        assert.equal("c2", said())]]
    end)
    it("by another start takes back its own, not that of the one that begins", function()
      of_night [[
        event("go", { id = 1, waits = true })
        host:advance "1h"
        host:event { id = "e2", type = "go", user = "ada", payload = { id = 1, waits = true } }
        host:at "2026-06-02 08:00"
        assert.held_back(host, { by = "cancelled", because = "the journey ended before it could go: begun anew by e2" })
        assert.sent(host, 1) -- in the first one's place
        assert.equal("1", said())]]
    end)
    it("by reaching the end of `run` lets it go, whatever comes", function()
      of_night [[
        event("go", { id = "c1" })
        event("stop", {})
        host:at "2026-06-02 08:00"
        assert.equal("c1", said())]]
    end)
    it("lets another's go, and what has been tried", function()
      of_night [[
        host:provider { push = 500, times = 1 }
        event("go", { id = "c1", waits = true })
        event("go", { id = "c2", waits = true }, "bob")
        host:event { type = "stop", user = "bob" }
        host:at "2026-06-02 08:00"
        assert.sent(host, 0)
        event("stop", {})
        host:advance "2h"
        assert.equal("c1", said())]]
    end)
  end)

  it("continues afresh with what it hands on", function()
    passes(start, [[
      local n = journey.state and journey.state.n or 1
      say(n)
      if n == 4 then return end
      journey:wait "1d"
      journey:continue { n = n + 1 }]], [[
      event("go", {})
      host:advance "1d"
      assert.equal(1, journeys()[1].run)
      assert.truthy(journeys()[1].steps <= 1)
      host:advance "10d"
      assert.equal("1,2,3,4", said())
      local ids = {}
      for _, m in ipairs(host:sent()) do assert.falsy(ids[m.message_id]) ids[m.message_id] = true end]])
  end)
  it("begins for each of an audience, about whose thing the event is", function()
    passes([[start = { on = "price.dropped", when = function(event, user) return user:count(seen) < 2 end,
        for_each = function(event) return watchers:of(event.payload.sku) end }, key = "payload.sku",]], [[
      journey:wait "1h"
      say(event.subject .. journey.key)]], [[
      event("viewed", { sku = "K1" }, "ada") event("viewed", { sku = "K1" }, "eve") event("viewed", { sku = "K2" }, "bob")
      event("seen", {}, "eve") event("seen", {}, "eve")
      host:event { type = "price.dropped", subject = "shoe", payload = { sku = "K1" } }
      host:advance "2h"
      assert.equal("shoeK1", said())
      assert.equal("ada", host:sent()[1].user)]],
      'local watchers = kairos.interest { name = "w", of = "viewed", by = "payload.sku", over = "30d" }\n')
  end)
  it("holds users out, who go the same way and get nothing", function()
    passes('start = { on = "go" }, holdout = "50%", worth = { on = "bought", within = "7d" },', 'journey:wait "1h" say(1)', [[
      for i = 1, 60 do event("go", {}, "u" .. i) end
      host:advance "2h"
      assert.truthy(#host:sent() > 15 and #host:sent() < 45, #host:sent())]])
  end)
  it("emits events that are decided at once, once", function()
    passes('start = { on = "go" }, exit = { on = "stop" },', [[
      journey:emit { type = "hello", payload = { n = 1 } }
      journey:wait "1h"
      user:emit { type = "stop" }
      journey:wait "1h" say "no"]], [[
      event("go", {})
      host:advance "1h"
      assert.equal(2, select(2, host:story("ada"):gsub("leads to the event", "")))
      assert.same({}, journeys())]])
  end)
  it("shows a shadow the way that it would go, and sends nothing", function()
    passes('start = { on = "go" }, mode = "shadow",', 'say(1) journey:set("stage", 1) journey:wait "1h" say(tostring((say(2))))', [[
      event("go", {})
      host:advance "1h"
      assert.equal("", said())
      local shadowed = 0
      for _, one in ipairs(host:decisions()) do
        assert.not_equal("send", one.decision)
        if one.reason == "shadow" then shadowed = shadowed + 1 end
      end
      assert.equal(3, shadowed)
      assert.falsy(host:user("ada").attributes.stage)]])
  end)
  it("obeys once_per and quiet hours as a rule does, and runs only in its hours", function()
    passes('start = { on = "go" }, hours = "09:00-18:00",', 'journey:wait "8h" say(kairos.now())', [[
      event("go", {})
      host:advance "9h"
      assert.equal("", said())
      assert.truthy(journeys()[1].held)
      host:at "2026-06-02 09:00"
      assert.equal(tostring(host:now() - 0), said())]])
  end)
  it("gets what came while it was held, afterwards", function()
    passes('start = { on = "go" }, hours = "09:00-18:00",', [[
      local e = journey:wait_for { on = "x", within = "12h" }
      say(e and e.payload.n)]], [[
      event("go", {})
      host:advance "7h"
      event("x", { n = 5 }) event("x", { n = 6 })
      assert.equal("", said())
      host:advance "20h"
      assert.equal("5", said())]])
  end)
  it("gives back what a deferred message reserved before what follows in the same input is judged, and once", function()
    local config = '{ time_zone = "UTC", default_purpose = "offers", purposes = { { name = "offers", quiet_hours = "20:00-08:00", '
      .. 'caps = { "1/1d" } } } }'
    local fields = 'start = { on = "go" }, again = "restart", exit = { on = "stop" },'
    local run = [[
      journey:send { channel = "push", to = "p", template = "said", once_per = "7d", data = { text = event.payload.text } }
      journey:wait "1d"]]
    passes(fields, run, [[
      host:at "2026-06-02 21:00"
      event("go", { text = "first" })
      host:advance "1h"
      event("go", { text = "second" })
      host:advance "1h"
      event("go", { text = "third" })
      event("go", { text = "fourth" })
      host:at "2026-06-03 09:00"
      assert.equal("fourth", said())
      event("go", { text = "fifth" })
      host:advance "1h"
      assert.equal("fourth", said())]], nil, config)
    passes(fields, run, [[
      host:at "2026-06-02 21:00"
      event("go", { text = "first" })
      host:at "2026-06-03 07:58" -- too near: it may be on its way, and its place is free when it is known that it is not
      event("go", { text = "second" })
      host:at "2026-06-03 09:00"
      assert.equal("", said())
      event("go", { text = "third" })
      assert.equal("third", said())]], nil, config)
    passes(fields, run, [[
      host:at "2026-06-02 21:00"
      event("go", { text = "first" })
      host:at "2026-06-03 09:00"
      assert.equal("first", said())
      event("go", { text = "second" })
      assert.equal("first", said())]], nil, config)
  end)
  it("ends with its campaign", function()
    passes('start = { on = "go" }, ends = "2026-06-02 12:00",', 'journey:wait "3d" say "no"', [[
      event("go", {})
      host:advance "5d"
      assert.equal("", said())
      assert.equal("over: ended 2026-06-02 12:00", ended())]])
  end)

  describe("that fails", function()
    it("is parked with a dead letter, and goes no further", function()
      passes(start, 'say(1) journey:wait "1h" say(2) error "no total"', [[
        event("go", {})
        host:advance "1d"
        assert.equal("1", said())
        assert.equal("parked", journeys()[1].state)
        assert.truthy(journeys()[1].why:find "rule.lua:%d+: no total")
        assert.equal(1, #host:dead())]])
    end)
    it("does not catch what ends it", function()
      passes(start, [[
        pcall(function() journey:wait "1h" end)
        say(1)
        pcall(journey.wait_for, journey, { on = "x" })
        say(2)]], [[
        event("go", {})
        assert.equal("", said())
        host:advance "1h"
        assert.equal("1", said())
        event("x", {})
        assert.equal("1,2", said())]])
    end)
    it("sends under ids of their own behind a phrase that it caught itself", function()
      passes(start, 'pcall(function() journey:wait_until "next blue moon" end) say(1) say(2) journey:wait "1h" say(3)', [[
        event("go", {})
        host:advance "2h"
        assert.equal("1,2,3", said())
        assert.not_equal(host:sent()[1].message_id, host:sent()[2].message_id)]])
    end)
    it("goes on by what it caught, each time it resumes", function()
      passes(start, [[
        local sent, no = pcall(journey.send, journey, { channel = "push", to = "p", template = user.which })
        local waited, when = pcall(journey.wait_until, journey, "next blue moon")
        local big, large = pcall(journey.set, journey, "big", string.rep("x", 5000))
        say(tostring(sent) .. tostring(waited) .. tostring(big))
        say(no) say(when)
        journey:wait "1h"
        say(no) say(when)
        journey:wait "1h"
        say(tostring(sent) .. tostring(waited) .. tostring(big) .. #journey.event.payload.x)]], [[
        host:event { type = "identify", user = "ada", payload = { which = "sad" } }
        event("go", { x = "y" })
        host:advance "3h"
        assert.same({}, host:dead())
        local all = {}
        for i, message in ipairs(host:sent()) do all[i] = message.text:gsub("%s+$", "") end
        assert.equal(6, #all)
        assert.equal("falsefalsefalse", all[1])
        assert.truthy(all[2]:find("rule.lua:%d+: there is no template `sad`"), all[2])
        assert.truthy(all[3]:find "next blue moon", all[3])
        assert.equal(all[2], all[4])
        assert.equal(all[3], all[5])
        assert.equal("falsefalsefalse1", all[6])]])
    end)
    it("goes on behind the message too many that it caught", function()
      passes(start, [[
        local refused
        for i = 1, 101 do
          local ok, why = pcall(say, i)
          if not ok then refused = why end
        end
        journey:wait "1h"
        say(refused)]], [[
        event("go", {})
        host:advance "2h"
        assert.same({}, host:dead())
        assert.equal(101, #host:sent())
        assert.truthy(host:sent()[101].text:find "more than 100 messages for one event")]])
    end)
    it("is parked by a `where` that fails, though it would catch that", function()
      passes(start, [[
        say(tostring(pcall(journey.wait_for, journey, { on = "x", where = function(e) return e.payload.n.m > 1 end })))
        journey:wait "1h"
        say "on"]], [[
        event("go", {})
        event("x", {})
        event("x", { n = { m = 2 } })
        assert.equal("", said())
        assert.equal("parked", journeys()[1].state)
        assert.truthy(journeys()[1].why:find "`where` of journey:wait_for failed: rules/j/rule.lua:%d+: attempt to index")]])
    end)
    it("must continue after 1,000 steps or 32 KB", function()
      fails(start, 'for i = 1, 1100 do local _ = user:count(seen) end',
        "the journey has 1000 steps; write journey:continue(state) before")
      fails(start, 'for i = 1, 20 do journey:set("big", string.rep("x", 3000)) local _ = user.big end journey:wait "1h"',
        "the journey's history is larger than 32 KB: ")
      fails(start, 'for i = 1, 20 do journey:set("big", string.rep("x", 3000)) local _ = user.big end journey:wait "1h"',
        " bytes with what big gave (3003 bytes); write journey:continue(state) before")
    end)
    it("keeps the cart of a Black Friday, that of its start and one that it waits for", function()
      local cart = [[
        local function cart(count)
          local items = {}
          for i = 1, count do
            items[i] = { sku = ("SKU-%06d"):format(i), name = "A thing with a name of some length, number " .. i, qty = i % 4 + 1,
              price = 19.99, currency = "EUR", image = ("https://cdn.shop.example/p/%06d.jpg"):format(i) }
          end
          return { items = items }
        end
      ]]
      local run = [[
        say(#event.payload.items)
        local newer = journey:wait_for { on = "cart", within = "1d" }
        journey:wait "1h"
        say(#newer.payload.items .. newer.payload.items[#newer.payload.items].sku)
        journey:continue { items = #newer.payload.items }]]
      local again = 'if journey.state then journey:wait_for { on = "cart" } say(#event.payload.items) return end\n'
      passes(start, again .. run, cart .. [[
        event("go", cart(150))
        host:advance "1h"
        event("cart", cart(150))
        host:advance "2h"
        event("cart", cart(150))
        assert.same({}, host:dead())
        assert.equal("150,150SKU-000150,150", said())]])
      fails(start, run, "bytes; a journey keeps the event it begins with, of at most 24 KB", cart .. 'event("go", cart(300))')
      fails(start, run, "the event that the journey waited for has ", cart .. 'event("go", cart(1)) event("cart", cart(300))')
      fails('start = { on = "go" }, hours = "09:00-18:00",', run, "bytes; a journey keeps one of at most 24 KB", cart .. [[
        host:at "2026-06-02 10:00"
        event("go", cart(1))
        host:at "2026-06-02 20:00"
        event("cart", cart(300))]])
    end)
    it("says how many a user may have", function()
      passes('start = { on = "go" }, key = "payload.id",', 'journey:wait "1d"', [[
        for i = 1, 33 do event("go", { id = i }) end
        assert.equal(1, #host:dead())
        assert.truthy(host:story("ada"):find("the user has 32 journeys under way already", 1, true), host:story("ada"))]])
    end)
    it("must wait between continues", function()
      fails(start, "journey:continue()", "the journey continues 10 times without waiting; let it wait in between")
    end)
    it("is told what to write instead", function()
      local cases = {
        { 'journey:wait(5)', 'the time given to journey:wait must be a duration such as "10m", not a number' },
        { 'journey:wait "1 hour"', "the time given to journey:wait" },
        { 'journey.wait "1h"', "write journey:wait(…) with a colon" },
        { 'journey:wait("1h", { late = "never" })', 'journey:wait: late = "fire" (it goes on all the same)' },
        { 'journey:wait("1h", { latte = "skip" })', "journey:wait has no field `latte`; did you mean `late`?" },
        { "journey:wait_until {}", 'journey:wait_until takes a time: "09:00", "tomorrow 09:00", "next weekday 09:00"' },
        { 'journey:wait_until "someday"', "journey:wait_until" },
        { "journey:wait_for { }", 'journey:wait_for needs `on`; write journey:wait_for { on = "message.clicked", within = "1d" }' },
        { 'journey:wait_for { on = {} }', "journey:wait_for: `on` is an empty list" },
        { 'journey:wait_for { on = 5 }', "journey:wait_for: `on` names an event type, or a list of them" },
        { 'journey:wait_for { on = "x", within = 5 }', "`within` of journey:wait_for must be a duration" },
        { 'journey:wait_for { on = "x", were = 5 }', "journey:wait_for has no field `were`; did you mean `where`?" },
        { 'journey:wait_for { on = "x", where = 5 }', "`where` of journey:wait_for must be a function" },
        { 'journey:split { a = 1 }', "journey:split needs a `name` of at most 64 letters" },
        { 'journey:split { name = "x" }', "journey:split has no side with a weight above 0" },
        { 'journey:split { name = "x", a = "1" }', "journey:split: the weight of `a` must be a number from 0 to 1000000" },
        { 'local t = "sad" journey:send { channel = "push", template = t }', "there is no template `sad`" },
        { 'journey:send { channel = "push", template = "said", data = 1 }', "`data` of journey:send must be a table" },
        { 'journey:goal()', 'write journey:goal "name"' },
        { 'journey:continue(print)', "the state given to journey:continue holds" },
        { "local x = journey.keys", "a journey has no `keys`; did you mean `key`?; there are journey.key, event, state" },
        { 'journey.stage = 5', 'use a local variable of `run`, or user:set("stage", value)' },
        { 'user:after("1h", { name = "x" })', 'user:after is for rules: a journey waits; write journey:wait "1h" in its `run`' },
        { 'event.payload.x = 5', "read-only" },
        { 'journey:emit { payload = {} }', "journey:emit needs `type`" },
      }
      local run = {}
      for i, case in ipairs(cases) do run[i] = ("if event.payload.n == %d then %s end"):format(i, case[1]) end
      local wanted = {}
      for i, case in ipairs(cases) do wanted[i] = ("%q"):format(case[2]) end
      passes('start = { on = "go" }, key = "payload.n",', table.concat(run, "\n"), "local wanted = { "
        .. table.concat(wanted, ", ") .. [[ }
        for i, text in ipairs(wanted) do
          host:event { type = "go", user = "u" .. i, payload = { n = i } }
          local letters = host:dead()
          local letter = letters[i]
          assert(letter, "case " .. i .. " did not fail")
          assert.truthy(letter.error:find(text, 1, true), letter.error)
          assert.truthy(letter.error:find "^rules/j/rule.lua:%d+: ", letter.error)
        end]])
    end)
    it("may not act in `where`", function()
      fails(start, 'journey:wait_for { on = "x", where = function(e, j) j:wait "1h" end }',
        "`where` only answers whether an event is meant; write journey:wait(…) in `run`", 'event("go", {}) event("x", {})')
      fails('start = { on = "go" }, exit = { on = "x", where = function(e, j, user) user:set("a", 1) end },', 'journey:wait "1h"',
        "write user:set(…) in `act`", 'event("go", {}) event("x", {})')
    end)
  end)

  it("is declared as kairos.journey says", function()
    refused('start = { on = "go", pace = "5/s" },', "`pace` is of a fan-out, and there is no `for_each`")
    refused('start = { on = "go" }, agian = "restart",', "kairos.journey has no field `agian`; did you mean `again`?")
    refused('start = "go",', "kairos.journey: `start` must be a table in braces")
    refused('start = { when = function() end },', '`start` of kairos.journey needs `on`: write on = "cart.updated"')
    refused('start = { on = "go" }, again = "never",', '`again` must be "ignore", "restart" or "parallel"')
    refused('start = { on = "go" }, exit = { where = function() end },', "`exit` of kairos.journey needs `on`")
    refused('start = { on = "go" }, late = "skip",', 'late = "skip" needs to know how late is too late')
    refused('start = { on = "go" }, flight = "land",', '`flight` must be "pin", "adopt" or a function that migrates')
    refused('start = { on = "go" }, goal = { on = "x", within = 5 },', "`within` must be a duration in quotes")
    refused('start = { on = "go" }, key = "cart_id",', '`key` must be a path into the event that begins with "payload."')
  end)
end)
