-- Frequency caps and quiet hours, through the real daemon and through simulate.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local socket = require "socket"

local function telling(name)
  return ([[
local kairos = require "kairos"
return kairos.rule {
  name = "%s",
  on = "%s",
  act = function(event, user)
    local p = event.payload
    user:send { channel = p.channel or "push", template = "said", data = { text = p.text }, purpose = p.purpose,
      cap = p.cap, on_cap = p.on_cap, expires_in = p.expires_in }
  end,
}
]]):format(name, name)
end

local function tell(user, text, more, type)
  local payload = { text = text }
  for name, value in pairs(more or {}) do payload[name] = value end
  local at = payload.at
  payload.at = nil
  return { type = type or "tell", user = user, at = at, payload = payload }
end
local function reasons(host, user)
  local found = {}
  for _, decision in ipairs(host:ask("why", user)) do
    if decision.message_id then found[#found + 1] = decision.reason end
  end
  return found
end
--- The same runs, looked at again, say the same.
local function agrees(host, user)
  local then_, again = {}, {}
  for _, reason in ipairs(reasons(host, user)) do then_[#then_ + 1] = reason == "" and "send" or "skip" end
  for _, run in ipairs(host:ask("why", user, "--replay")) do again[#again + 1] = run.decision end
  assert.same(then_, again)
end

describe("frequency caps", function()
  local host
  setup(function()
    host = Host.start { rules = { tell = telling "tell", other = telling "other" }, config = {
      caps = "5/1h",
      purposes = {
        { name = "offers", caps = { "2/1h" } },
        { name = "stopped", caps = { "0/1d" } },
        { name = "daily", caps = { "1/1d calendar" } },
      },
    } }
  end)
  teardown(function() host:remove() end)

  it("count by purpose, across campaigns, and by campaign where a send says so", function()
    host:accept(tell("ada", "1", { purpose = "offers" }), tell("ada", "2", { purpose = "offers" }, "other"),
      tell("ada", "no", { purpose = "offers" }), tell("ada", "3", { cap = "1/1h" }), tell("ada", "no", { cap = "1/1h" }),
      tell("ada", "4", { cap = "1/1h" }, "other"), tell("ada", "5"), tell("ada", "no"),
      tell("ada", "6", { purpose = "transactional" }))
    assert.same({ "1", "2", "3", "4", "5", "6" }, host:said("ada", 6))
    assert.same({ "", "", "cap", "", "cap", "", "", "cap", "" }, reasons(host, "ada"))
    agrees(host, "ada")
    local checks = host:ask("why", "ada")[3].checks
    assert.truthy(checks.cap:find("offers 2 in 1h: 2 sent since .* UTC, 0 left; room from"), checks.cap)
    local counted = host:ask("user", "ada").counted
    assert.same({ 5, 2, 1, 1 }, { #counted["*"], #counted.offers, #counted["campaign tell"], #counted["campaign other"] })
  end)

  it("of zero let none pass", function()
    host:accept(tell("bob", "no", { purpose = "stopped" }), tell("bob", "no", { cap = "0/7d" }))
    assert.same({ "cap", "cap" }, reasons(host, "bob"))
    assert.equal("stopped 0 in 1d: none may pass", host:ask("why", "bob")[1].checks.cap:match "; (.*)")
  end)

  it("go by the clock on the wall: an old event is no way around them", function()
    local now = Host.now()
    host:accept(tell("cid", "1", { purpose = "offers", at = now - 20 * 86400000 }),
      tell("cid", "2", { purpose = "offers", at = now - 10 * 86400000 }), tell("cid", "no", { purpose = "offers", at = now }))
    assert.same({ "", "", "cap" }, reasons(host, "cid"))
  end)

  it("hold across a power cut", function()
    host:accept(tell("dan", "1", { purpose = "daily" }))
    host:kill()
    host:run()
    host:accept(tell("dan", "no", { purpose = "daily" }))
    assert.same({ "", "cap" }, reasons(host, "dan"))
    agrees(host, "dan")
  end)

  it("are counted in the metrics by what was answered", function()
    host:accept(tell("eve", "1", { purpose = "daily" }), tell("eve", "no", { purpose = "daily" }),
      tell("eve", "later", { purpose = "daily", on_cap = "defer" }))
    assert.is_true(host:metric("kairos_skips_total", 'campaign="tell",reason="cap"') >= 1)
    assert.equal(1, host:metric "kairos_deferrals_total")
  end)

  it("that are none are refused by name", function()
    host:accept(tell("fay", "1", { cap = "many" }), tell("fay", "2", { cap = "101/1d" }), tell("fay", "3", { on_cap = "wait" }))
    local errors = {}
    for _, letter in ipairs(host:dead(3)) do errors[#errors + 1] = letter.error end
    errors = table.concat(errors, "\n")
    for _, wanted in ipairs { '`cap` of user:send: "many" is no cap: write how many, "/" and in how long, such as "3/7d"',
      '"101/1d" is too many: a cap counts to 100 at most', '`on_cap` of user:send is "wait"; write "skip" or "defer"' } do
      assert.truthy(errors:find(wanted, 1, true), errors)
    end
  end)
end)

describe("what a cap reserved", function()
  it("is given back when the provider rejects the message, or consent is withdrawn, but not when it may have arrived", function()
    local sink = Sink.start()
    local host = Host.start { rules = { tell = telling "tell" }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = { { name = "offers", caps = "1/1h" } },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", attempts = 1 } },
      routes = { webhook = "hook" },
    } }
    local more = { purpose = "offers", channel = "webhook" }
    sink:answer { default = { status = 400 } }
    host:accept(tell("ada", "1", more))
    host:dead(1)
    sink:answer { default = { status = 500 } }
    host:accept(tell("ada", "2", more))
    host:dead(2)
    sink:answer { default = { status = 200 } }
    host:accept(tell("ada", "3", more))
    -- 1 was rejected and given back; 2 is exhausted, and may have arrived.
    assert.same({ "", "", "cap" }, reasons(host, "ada"))
    agrees(host, "ada")
    host:command "pause"
    host:accept(tell("bob", "1", more), { type = "consent.withdrawn", user = "bob", payload = { purpose = "offers" } })
    process.eventually(5 * Host.patience, function() return next(host:ask("user", "bob").counted) == nil end)
    host:accept({ type = "consent.granted", user = "bob", payload = { purpose = "offers" } }, tell("bob", "2", more))
    assert.same({ "", "" }, reasons(host, "bob"))
    agrees(host, "bob")
    host:remove()
    sink:remove()
  end)
end)

describe("a message that may have arrived", function()
  it("keeps its place under the cap, however it ends", function()
    local sink = Sink.start()
    local host = Host.start { rules = { tell = telling "tell" }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = { { name = "offers", caps = "1/1h" } },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", ambiguous = "resend",
        backoff_base = "60s" } },
      routes = { webhook = "hook" },
    } }
    finally(function()
      host:remove()
      sink:remove()
    end)
    local more = { purpose = "offers", channel = "webhook" }
    local function outcome(user, index)
      process.eventually(5 * Host.patience, function() return #(host:ask("why", user)[1].outcomes or {}) >= index end)
      return (host:ask("why", user)[1].outcomes[index] or {}).outcome
    end
    -- The sink has it; the host does not know.
    sink:answer { default = { act = "close" } }
    host:accept(tell("ada", "1", more))
    assert.equal("retry", outcome("ada", 1))
    host:accept({ type = "consent.withdrawn", user = "ada", payload = { purpose = "offers" } })
    assert.equal("cancelled", outcome("ada", 2))
    sink:answer { default = { status = 200 } }
    host:accept({ type = "consent.granted", user = "ada", payload = { purpose = "offers" } }, tell("ada", "2", more))
    assert.same({ "", "cap" }, reasons(host, "ada"))
    agrees(host, "ada")
    assert.equal(1, #sink:requests())
  end)
end)

describe("a dead letter that is sent again", function()
  it("gives its place back when it is rejected then, but not when it may have arrived before", function()
    local sink = Sink.start()
    local host = Host.start { rules = { tell = [[
local kairos = require "kairos"
return kairos.rule {
  name = "tell",
  on = "tell",
  act = function(event, user)
    local p = event.payload
    user:send { channel = "webhook", template = "said", data = { text = p.text }, purpose = "offers", once_per = p.once_per }
  end,
}
]] }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = { { name = "offers", caps = "1/1h" } },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", attempts = 1 } },
      routes = { webhook = "hook" },
    } }
    finally(function()
      host:remove()
      sink:remove()
    end)
    -- The sink has Ada's and Cid's; it refuses Bob's.
    sink:answer { next = { { act = "close" }, { act = "close" }, { status = 400 } }, default = { status = 400 } }
    local arrived, letters = { ada = true, cid = true }, {}
    for index, user in ipairs { "ada", "cid", "bob" } do
      host:accept(tell(user, "1", { once_per = user == "cid" and "1d" or nil }))
      for _, letter in ipairs(host:dead(index)) do letters[letter.user] = letter.id end
    end
    for index, user in ipairs { "ada", "cid", "bob" } do
      -- Again and again: it may have arrived as long as there is a letter of it.
      for again = 1, 2 do
        assert.equal(0, host:command("dead", "retry", letters[user]).status)
        assert.equal(3 + 2 * (index - 1) + again, #sink:await(3 + 2 * (index - 1) + again))
        assert.equal(3, #host:dead(3))
      end
    end
    for _, user in ipairs { "ada", "cid", "bob" } do
      host:accept(tell(user, "2", { once_per = user == "cid" and "1d" or nil }))
      local reason = reasons(host, user)[#reasons(host, user)]
      assert.equal(arrived[user] and (user == "cid" and "once_per" or "cap") or "", reason, user)
      agrees(host, user)
    end
  end)
end)

describe("a message that a cap defers", function()
  local SECONDS = 2
  local host, sink
  before_each(function()
    sink = Sink.start()
    host = Host.start { rules = { tell = telling "tell" }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = { { name = "offers", caps = ("1/%ds"):format(SECONDS), on_cap = "defer" } },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    } }
  end)
  after_each(function()
    host:remove()
    sink:remove()
  end)
  local more = { purpose = "offers", channel = "webhook" }

  --- Each has a moment of its own; what was late for it goes at once, whenever the one before went.
  local function in_turn(count, began)
    local requests = sink:await(count, (SECONDS * count + 10) * Host.patience)
    assert.equal(count, #requests)
    for index = 2, count do
      assert.is_true(requests[index].at >= began + (index - 1) * SECONDS * 1000, "before its moment")
    end
  end

  it("goes when there is room again, and not before", function()
    local began = Host.now()
    host:accept(tell("ada", "1", more), tell("ada", "2", more), tell("ada", "3", more))
    local text = host:command("why", "ada").out
    assert.truthy(text:find("said is deferred to ", 1, true), text)
    in_turn(3, began)
    agrees(host, "ada")
  end)

  it("goes once, across a power cut and an orderly stop", function()
    local began = Host.now()
    host:accept(tell("ada", "1", more), tell("ada", "2", more), tell("ada", "3", more))
    process.eventually(5 * Host.patience, function() return #(host:ask("why", "ada")[1].outcomes or {}) == 1 end)
    host:kill()
    host:run()
    host:restart()
    in_turn(3, began)
    socket.sleep(0.3)
    assert.equal(3, #sink:requests())
  end)

  it("is not cancelled when it has left, though the store knows nothing of that yet", function()
    host:accept(tell("ada", "1", more), tell("ada", "2", more), tell("ada", "3", more))
    host:restart()
    sink:await(2, (SECONDS + 10) * Host.patience)
    assert.truthy(process.eventually(5 * Host.patience, function() return host:ask("status").providers.hook.in_flight == 0 end))
    host:accept { type = "consent.withdrawn", user = "ada", payload = { purpose = "offers" } }
    assert.truthy(process.eventually(5 * Host.patience, function()
      return #(host:ask("why", "ada")[3].outcomes or {}) == 1
    end))
    local outcomes = {}
    for index = 1, 3 do
      for _, outcome in ipairs(host:ask("why", "ada")[index].outcomes) do
        outcomes[#outcomes + 1] = index .. " " .. outcome.outcome
      end
    end
    assert.same({ "1 accepted", "2 accepted", "3 cancelled" }, outcomes)
  end)

  it("is cancelled when consent is withdrawn meanwhile, and its place is free", function()
    host:accept(tell("ada", "1", more), tell("ada", "2", more))
    assert.equal(1, #sink:await(1))
    host:accept { type = "consent.withdrawn", user = "ada", payload = { purpose = "offers" } }
    process.eventually(5 * Host.patience, function() return #(host:ask("why", "ada")[2].outcomes or {}) == 1 end)
    assert.equal("cancelled", host:ask("why", "ada")[2].outcomes[1].outcome)
    assert.equal(1, #host:ask("user", "ada").counted.offers)
    local words = host:command("user", "ada").out
    assert.truthy(words:find "\ncounted\n +offers +1, the newest of %d%d%d%d%-%d%d%-%d%d %d%d:%d%d", words)
    socket.sleep(SECONDS + 0.5)
    assert.equal(1, #sink:requests())
    agrees(host, "ada")
  end)

  it("is not deferred past its expiry", function()
    local soon = { purpose = "offers", channel = "webhook", expires_in = "1s" }
    host:accept(tell("ada", "1", more), tell("ada", "no", soon))
    assert.same({ "", "cap" }, reasons(host, "ada"))
    local answer = host:ask("why", "ada")[2].checks.cap
    assert.truthy(answer:find("room from .* UTC, and it expires "), answer)
  end)
end)

describe("deferred messages", function()
  it("in any number wait in the store, and each goes once, across a power cut", function()
    -- 2,000 of them take almost twice delivery.outbox_max.
    local USERS, SECONDS = Host.patience > 1 and 300 or 2000, 12
    local host = Host.start { rules = { tell = telling "tell" }, config = {
      delivery = { outbox_max = "1MB" },
      purposes = { { name = "offers", caps = ("1/%ds"):format(SECONDS), on_cap = "defer" } },
    } }
    local function all(text)
      local list = {}
      for index = 1, USERS do list[index] = tell("user-" .. index, text, { purpose = "offers" }) end
      host:accept(unpack(list))
    end
    local function accepted()
      return host:metric("kairos_deliveries_total", 'provider="files",outcome="accepted"') or 0
    end
    local began = socket.gettime()
    all "first"
    process.eventually(SECONDS, function() return accepted() >= USERS end)
    all "second"
    process.eventually(SECONDS, function() return host:metric "kairos_outbox_bytes" < 512 * 1024 end)
    local deferred = host:ask("status").deferred
    host:kill()
    local in_time = socket.gettime() - began < SECONDS - 1 -- else some have gone
    if in_time then assert.equal(USERS, deferred.waiting) end
    host:run()
    process.eventually(6 * SECONDS * Host.patience, function() return host:ask("status").deferred.waiting == 0 end)
    host:await_messages(2 * USERS, 6 * SECONDS)
    local times = {}
    for _, message in ipairs(host:messages()) do times[message.body] = (times[message.body] or 0) + 1 end
    assert.same({ first = USERS, second = USERS }, times)
    if in_time then
      process.eventually(10 * Host.patience, function() return accepted() >= USERS end)
      assert.equal(USERS, accepted())
    end
    assert.same({ waiting = 0 }, host:ask("status").deferred)
    host:remove()
  end)
end)

describe("simulate", function()
  local directory
  setup(function()
    directory = files.temporary()
    files.write(directory .. "/rules/tell/rule.lua", telling "tell")
    files.write(directory .. "/rules/tell/said.txt", "{{text}}")
  end)
  teardown(function() files.remove(directory) end)

  local function simulate(config, events)
    for index, event in ipairs(events) do events[index] = Host.event(event) end
    files.write(directory .. "/events.ndjson", Host.ndjson(events))
    files.write(directory .. "/kairos.yaml", (cjson.encode(config):gsub("\\/", "/")))
    local result = process.run { command = { Host.binary, "simulate", "--config", directory .. "/kairos.yaml", "--rules",
      directory .. "/rules", "--events", directory .. "/events.ndjson" }, seconds = 60 * Host.patience }
    assert.equal(0, result.status, result.err)
    local found = {}
    for line in result.out:gmatch "[^\n]+" do
      local decision = cjson.decode(line)
      found[#found + 1] = decision.not_before and os.date("!%Y-%m-%d %H:%M", decision.not_before / 1000) or decision.decision
    end
    return found
  end
  local function at(text)
    local year, month, day, hour, minute = text:match "(%d+)-(%d+)-(%d+) (%d+):(%d+)"
    local days = os.time { year = year, month = month, day = day, hour = 12, isdst = false }
    local noon = os.date("!*t", days)
    return (days - noon.hour * 3600 - noon.min * 60 + hour * 3600 + minute * 60) * 1000
  end

  it("shows quiet hours over the nights on which clocks are set, where the user lives", function()
    local config = { purposes = { { name = "offers", quiet_hours = "21:00-08:00" } } }
    local function home(user, zone)
      return { type = "identify", user = user, at = at "2026-01-01 00:00", payload = { time_zone = zone } }
    end
    local function offer(user, time) return tell(user, "x", { purpose = "offers", at = at(time) }) end
    assert.same({
      "2026-03-08 12:00", "2026-03-29 06:00", "2026-04-04 21:30", "2026-10-03 21:00", "2026-10-25 07:00", "2026-11-01 13:00",
      "send",
    }, simulate(config, {
      home("ada", "Europe/Berlin"), home("bob", "America/New_York"), home("cid", "Australia/Lord_Howe"),
      offer("bob", "2026-03-08 04:00"), offer("ada", "2026-03-28 20:30"), offer("cid", "2026-04-04 12:00"),
      offer("cid", "2026-10-03 12:00"), offer("ada", "2026-10-24 20:30"), offer("bob", "2026-11-01 03:00"),
      offer("nobody", "2026-11-02 12:00"),
    }))
  end)

  it("counts by the events' own clock", function()
    local config = { purposes = { { name = "offers", caps = { "2/7d", "1/1d calendar" } } } }
    local function offer(time) return tell("ada", "x", { purpose = "offers", at = at(time) }) end
    assert.same({ "send", "skip", "send", "skip", "skip", "send" }, simulate(config, {
      offer "2026-11-02 09:00", offer "2026-11-02 23:59", offer "2026-11-03 00:00", offer "2026-11-05 09:00",
      offer "2026-11-09 08:59", offer "2026-11-09 09:00",
    }))
  end)
end)
