-- kairos simulate: what would have happened, on the events' own clock.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local HOUR = 3600 * 1000
local START = 1700000000000

local story = [[
local kairos = require "kairos"
local seen = kairos.window { of = "bought", over = "1h" }
return kairos.rule {
  name = "story",
  on = { "bought", "spin", "fail" },
  act = function(event, user)
    if event.type == "spin" then while true do end end
    if event.type == "fail" then error "on purpose" end
    user:send { channel = "email", template = "said", data = { text = user:count(seen) }, once_per = "30m" }
    user:after("1h", { name = "later", cancel_on = "bought" })
  end,
  timers = { later = function(_, user) user:send { channel = "push", template = "said", data = { text = "later" } } end },
}
]]

describe("simulate", function()
  local directory
  setup(function()
    directory = files.temporary()
    files.write(directory .. "/rules/story/rule.lua", story)
    files.write(directory .. "/rules/story/said.txt", "{{text}}")
  end)
  teardown(function() files.remove(directory) end)

  local function bought(id, user, at)
    return Host.event { id = id, type = "bought", user = user, at = START + at }
  end
  local function simulate(events, ...)
    local path = directory .. "/events.ndjson"
    files.write(path, type(events) == "string" and events or Host.ndjson(events))
    local result = process.run { command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events", path, ... },
      seconds = 60 * Host.patience }
    result.lines = {}
    for line in result.out:gmatch "[^\n]+" do
      local decision = cjson.decode(line)
      result.lines[#result.lines + 1] = decision
    end
    return result
  end
  --- "time user template decision reason", short.
  local function told(result)
    local found = {}
    for index, d in ipairs(result.lines) do
      found[index] = ("%d %s %s %s %s"):format(d.at - START, d.user_id, d.channel, d.decision, d.reason)
    end
    return found
  end

  it("prints one JSON line a decision, with all that it should name", function()
    local result = simulate { bought("1", "ada", 0) }
    assert.equal(0, result.status, result.err)
    assert.equal(1, #result.lines)
    local decision = result.lines[1]
    assert.equal(START, decision.at)
    assert.equal("ada", decision.user_id)
    assert.equal("story", decision.campaign)
    assert.equal("said", decision.template)
    assert.equal("email", decision.channel)
    assert.equal("send", decision.decision)
    assert.is_string(decision.reason)
    assert.truthy(decision.message_id:match "^%x+$")
  end)

  it("sorts by timestamp, then by input order", function()
    local result = simulate { bought("3", "cid", 2), bought("1", "ada", 1), bought("2", "bob", 1), bought("0", "zoe", 0) }
    local users = {}
    for index, decision in ipairs(result.lines) do users[index] = decision.user_id end
    assert.same({ "zoe", "ada", "bob", "cid" }, users)
  end)

  it("lets events go before timers of the same moment", function()
    local result = simulate {
      bought("1", "ada", 0), bought("2", "ada", HOUR), bought("3", "bob", 0), bought("4", "bob", HOUR + 1),
    }
    assert.same({
      "0 ada email send ", "0 bob email send ", HOUR .. " ada email send ", HOUR .. " bob push send ",
      HOUR + 1 .. " bob email send ",
    }, told(result))
  end)

  it("runs to the last event, or to --until, which decides the timers that are due later", function()
    local events = { bought("1", "ada", 0), bought("2", "bob", 10) }
    assert.same({ "0 ada email send ", "10 bob email send " }, told(simulate(events)))
    assert.equal(2, #simulate(events, "--until", tostring(START + HOUR - 1)).lines)
    assert.equal(3, #simulate(events, "--until", tostring(START + HOUR)).lines)
    assert.equal(4, #simulate(events, "--until", tostring(START + 10 * HOUR)).lines)
    assert.equal(1, #simulate(events, "--until", tostring(START + 5)).lines)
    -- START is 2023-11-14 22:13:20 UTC; a date as people write it, with a zone or without.
    assert.equal(2, #simulate(events, "--until", "2023-11-15 00:13:19.999 Europe/Berlin").lines)
    assert.equal(3, #simulate(events, "--until", "2023-11-15 00:13:20 Europe/Berlin").lines)
    assert.equal(3, #simulate(events, "--until", "2023-11-14T23:13:20").lines)
    local slip = simulate(events, "--until", "2023-11-15 00:13 Europe/Berln")
    assert.equal(2, slip.status)
    assert.truthy(slip.err:find('did you mean "Europe/Berlin"', 1, true), slip.err)
  end)

  it("lets timers fire that are due at the last event's time", function()
    local result = simulate { bought("1", "ada", 0), bought("2", "bob", HOUR) }
    assert.same({ "0 ada email send ", HOUR .. " bob email send ", HOUR .. " ada push send " }, told(result))
  end)

  it("says what the gate refuses, and why", function()
    local result = simulate { bought("1", "ada", 0), bought("2", "ada", 10),
      Host.event { id = "3", type = "message.unsubscribed", user = "ada", at = START + 20 }, bought("4", "ada", HOUR) }
    assert.same({ "0 ada email send ", "10 ada email skip once_per", HOUR .. " ada email skip suppressed" }, told(result))
  end)

  it("counts an event once that is there twice", function()
    local result = simulate { bought("1", "ada", 0), bought("1", "ada", 0), bought("2", "ada", HOUR) }
    assert.equal(2, #result.lines)
  end)

  it("prints the same bytes for the same input", function()
    local events = {}
    for index = 1, 500 do events[index] = bought("e" .. index, "user-" .. index % 37, index * 7 % 1000 * 60000) end
    local first = simulate(events, "--until", tostring(START + 100 * HOUR))
    assert.is_true(#first.lines > 500)
    assert.equal(first.out, simulate(events, "--until", tostring(START + 100 * HOUR)).out)
  end)

  it("stops a rule at a counted budget, the same way every time, and goes on", function()
    local events = { Host.event { id = "1", type = "spin", user = "ada", at = START },
      Host.event { id = "2", type = "fail", user = "ada", at = START }, bought("3", "ada", 1) }
    local result = simulate(events)
    assert.equal(0, result.status, result.err)
    assert.equal(1, #result.lines)
    assert.truthy(result.err:find("story/rule.lua:7", 1, true), result.err)
    assert.truthy(result.err:find("story/rule.lua:8", 1, true), result.err)
  end)

  it("names bad lines by their number and goes on", function()
    local result = simulate(table.concat({
      Host.json(bought("1", "ada", 0)), "{broken", '{"event_id":"x"}', Host.json(bought("2", "bob", 0)),
    }, "\n"))
    assert.equal(2, #result.lines)
    assert.truthy(result.err:find(":2:", 1, true))
    assert.truthy(result.err:find(":3:", 1, true))
  end)

  it("sends nothing and keeps nothing", function()
    local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")
    local result = process.shell(("cd %s && %s simulate --rules rules --events events.ndjson >/dev/null 2>&1; ls"):format(
      directory, binary))
    assert.equal("events.ndjson\nrules\n", result)
  end)

  it("is what the host then does", function()
    local host = Host.start { rules = { story = { ["rule.lua"] = story, ["said.txt"] = "{{text}}" } } }
    finally(function() host:remove() end)
    local events = {}
    local now = Host.now() - HOUR / 2
    for index = 1, 60 do
      events[index] = Host.event { id = "e" .. index, type = "bought", user = "user-" .. index % 5, at = now + index }
    end
    local expected = {}
    for _, decision in ipairs(simulate(events).lines) do
      if decision.decision == "send" then expected[decision.message_id] = true end
    end
    host:post(events)
    host:await_messages(5)
    local found = {}
    for _, message in ipairs(host:messages()) do
      found[message.message_id] = true
    end
    assert.same(expected, found)
  end)
end)
