-- Journeys of the real daemon: they outlive it, whenever it ends, and what they got stays as it was.
local Host = require "spec.functional.support.host"
local socket = require "socket"

local function journey(fields, run)
  return [[
local kairos = require "kairos"
local seen = kairos.window { of = "seen", over = "1d" }
return kairos.journey {
  name = "way", ]] .. fields .. [[
  run = function(journey, user, event)
    local function say(text)
      return journey:send { channel = "push", template = "said", to = "p", data = { text = tostring(text) } }
    end
]] .. run .. "\n  end,\n}\n"
end

local long = journey('start = { on = "go" }, key = "payload.id", exit = { on = "stop" },', [[
    local n = user:count(seen)
    say("begins " .. n)
    journey:wait "400ms"
    local side = journey:split { name = "side", left = 50, right = 50 }
    say("one " .. side .. " " .. n)
    local event = journey:wait_for { on = "more", within = "20s", where = function(e, j) return e.payload.id == j.key end }
    say("more " .. tostring(event and event.payload.word) .. " " .. side)
    journey:wait "400ms"
    journey:set("stage", "end")
    say("end " .. tostring(user:count(seen)))]])

describe("a journey of the daemon", function()
  local host
  after_each(function() if host then host:remove() end end)

  local function way(user)
    local found = {}
    for i, text in ipairs(host:said(user, 4)) do found[i] = (text:gsub(" left", " S"):gsub(" right", " S")) end
    return found
  end

  it("goes on where it was, killed after each step", function()
    host = Host.start { rules = { way = long } }
    local wanted = { "begins 1", "end 2", "more yes S", "one S 1" }
    host:accept({ type = "seen", user = "ada" }, { type = "go", user = "ada", payload = { id = 7 } })
    host:kill()
    host:run()
    assert.truthy(#host:said("ada", 1) >= 1)
    host:accept { type = "seen", user = "ada" }
    host:kill()
    host:run()
    assert.equal(2, #host:said("ada", 2))
    host:kill()
    host:run()
    host:accept({ type = "more", user = "ada", payload = { id = 8, word = "no" } },
      { type = "more", user = "ada", payload = { id = 7, word = "yes" } })
    host:kill()
    host:run()
    assert.truthy(#host:said("ada", 3) >= 3) -- the last wait is short
    host:kill()
    host:run()
    assert.same(wanted, way "ada")
    assert.same({}, host:dead())
    local ids = {}
    for _, message in ipairs(host:messages()) do ids[message.message_id] = true end
    local count = 0
    for _ in pairs(ids) do count = count + 1 end
    assert.equal(4, count)
  end)

  it("is the same journey in many that are under way at once, killed at any time", function()
    host = Host.start { rules = { way = long } }
    local users = {}
    for i = 1, 40 do users[i] = "user" .. i end
    for i, user in ipairs(users) do
      host:accept({ type = "seen", user = user }, { type = "go", user = user, payload = { id = i } })
      if i % 9 == 0 then
        host:kill()
        host:run()
      end
    end
    socket.sleep(0.5)
    host:kill()
    host:run()
    for i, user in ipairs(users) do
      host:said(user, 2)
      host:accept({ type = "seen", user = user }, { type = "more", user = user, payload = { id = i, word = "yes" } })
      if i % 13 == 0 then
        host:kill()
        host:run()
      end
    end
    for _, user in ipairs(users) do assert.same({ "begins 1", "end 2", "more yes S", "one S 1" }, way(user)) end
    assert.same({}, host:dead())
  end)

  it("ends by its exit, also when the host was killed just before", function()
    host = Host.start { rules = { way = long } }
    host:accept { type = "go", user = "eve", payload = { id = 1 } }
    host:said("eve", 2)
    host:kill()
    host:run()
    host:accept({ type = "stop", user = "eve" }, { type = "more", user = "eve", payload = { id = 1 } })
    host:kill()
    host:run()
    assert.same({}, host:ask("user", "eve").journeys)
    assert.equal(2, #host:said("eve", 2))
  end)

  it("is parked when it fails, and goes on by `dead retry` once its source does", function()
    host = Host.start { rules = { way = journey('start = { on = "go" },',
      'say "a" journey:wait "100ms" if not user.ready then error "not ready" end say "b" journey:wait "100ms" say "c"') } }
    host:accept { type = "go", user = "ada" }
    local letters = host:dead(1)
    assert.truthy(letters[1].error:find("not ready", 1, true))
    host:kill()
    host:run()
    local answer = host:command("dead", "retry", letters[1].id)
    assert.truthy((answer.out .. answer.err):find("not ready", 1, true), answer.out .. answer.err)
    assert.equal(1, #host:dead())
    host:accept { type = "identify", user = "ada", payload = { ready = true } }
    answer = host:command("dead", "retry", letters[1].id)
    assert.equal(0, answer.status, answer.out .. answer.err)
    assert.same({ "a", "b", "c" }, host:said("ada", 3, 30)) -- what is overdue after a start waits for the grace of 10 s
    assert.same({}, host:dead())
    answer = host:command("dead", "retry", letters[1].id)
    assert.truthy(answer.status ~= 0)
  end)

  it("does as its wait says when the host was down at its time", function()
    host = Host.start { config = { timers = { overdue_grace = "300ms" } }, rules = {
      fires = journey('start = { on = "go" },', 'journey:wait "300ms" say "fires" journey:wait "300ms" say "then"')
        :gsub('300ms" say "fires"', '4s" say "fires"'):gsub('"way"', '"fires"'),
      skips = journey('start = { on = "go" }, late = "skip", late_after = "200ms",',
        'journey:wait "4s" say(tostring(select(2, say "skips"))) journey:wait "1s" say "goes on"'):gsub('"way"', '"skips"'),
      exits = journey('start = { on = "go" },',
        'journey:wait("4s", { late = "exit", late_after = "200ms" }) say "no"'):gsub('"way"', '"exits"'),
    } }
    host:accept { type = "go", user = "ada" }
    host:kill()
    socket.sleep(4.5)
    host:run()
    assert.same({ "fires", "goes on", "then" }, host:said("ada", 3))
    local reasons = {}
    for _, decision in ipairs(host:ask("why", "ada")) do
      if decision.campaign == "skips" and decision.decision:find "^s" then
        reasons[#reasons + 1] = decision.decision .. " " .. decision.reason
      end
    end
    table.sort(reasons)
    assert.same({ "send ", "skip late", "skip late" }, reasons)
  end)

  it("is held while its campaign is paused, and goes on afterwards", function()
    host = Host.start { rules = { way = journey('start = { on = "go" },', 'journey:wait_for { on = "x" } say "on"') } }
    host:accept { type = "go", user = "ada" }
    assert.equal(0, host:command("pause", "--campaign", "way", "--reason", "a test").status)
    host:accept { type = "x", user = "ada" }
    assert.equal("number", type(host:ask("user", "ada").journeys[1].held))
    assert.same({}, host:said("ada", 0))
    host:kill()
    host:run()
    assert.equal(0, host:command("resume", "--campaign", "way").status)
    assert.same({ "on" }, host:said("ada", 1))
  end)

  it("is told the same by why --replay", function()
    host = Host.start { rules = { way = long } }
    host:accept({ type = "seen", user = "ada" }, { type = "go", user = "ada", payload = { id = 7 } })
    host:said("ada", 2)
    host:accept { type = "more", user = "ada", payload = { id = 7, word = "yes" } }
    host:said("ada", 4)
    local sent = {}
    for _, row in ipairs(host:ask("why", "ada", "--replay")) do
      if row.decision == "send" then sent[#sent + 1] = row.campaign end
      assert.not_equal("failed", row.decision, row.reason)
    end
    assert.equal(4, #sent)
  end)
end)
