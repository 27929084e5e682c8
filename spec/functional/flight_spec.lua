-- Which source a journey under way runs on: its own (pin), the newer one (adopt), or the newer one with a state made of
-- where it stood (migrate); through reloads, rollbacks, kills and campaigns that go.
local Host = require "spec.functional.support.host"
local Clock = require "spec.functional.support.clock"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local config = { rules = { watch = false } }

--- A journey in three stages, each begun by an event `go`, that says which source it runs on.
local function telling(word, more)
  more = more or {}
  local text = ([[
local kairos = require "kairos"
WINDOW
return kairos.journey {
  name = "telling",
  start = { on = "begin" },
  FLIGHT
  run = function(journey, user)
    local function say(text)
      journey:send { channel = "push", template = "said", data = { text = text .. " by WORD" } }
    end
    BEFORE
    say("begun")
    journey:wait_for { on = "go", within = "1h" }
    say("seen " .. (seen and user:count(seen) or "none"))
    journey:wait_for { on = "SECOND", within = "1h" }
    say("ended")
  end,
}
]]):gsub("WORD", word):gsub("FLIGHT", more.flight and "flight = " .. more.flight .. "," or ""):gsub("BEFORE", more.before or "")
    :gsub("SECOND", more.second or "go")
    :gsub("WINDOW", more.blind and "local seen" or 'local seen = kairos.window { of = "seen", over = "1d" }')
  return text
end

local function write(host, text, template)
  files.write(host.rules .. "/telling/rule.lua", text)
  files.write(host.rules .. "/telling/said.txt", template or "{{{text}}}")
end

local function reload(host, text, template)
  write(host, text, template)
  assert.equal("serving", host:ask("reload").result)
end

local function go(host, user)
  host:accept { type = "go", user = user }
end

local function journey_of(host, user)
  return host:ask("journeys", "--user", user)[1]
end

describe("a journey under way", function()
  local host
  before_each(function()
    host = Host.start { rules = { telling = telling "one" }, config = config }
    host:accept { type = "begin", user = "ada" }
    assert.same({ "begun by one" }, host:said "ada")
  end)
  after_each(function() host:remove() end)

  it("keeps the source that it began with, its template and its windows, also after kills", function()
    reload(host, telling("two", { blind = true }), "newer: {{{text}}}")
    host:accept({ type = "begin", user = "bob" }, { type = "seen", user = "ada" }, { type = "seen", user = "ada" })
    assert.same({ "newer: begun by two" }, host:said "bob")
    host:kill()
    host:run()
    host:accept { type = "seen", user = "ada" }
    go(host, "ada")
    assert.same({ "begun by one", "seen 3 by one" }, host:said("ada", 2))
    host:kill()
    host:run()
    reload(host, telling("three", { blind = true }))
    go(host, "ada")
    go(host, "bob")
    assert.same({ "begun by one", "ended by one", "seen 3 by one" }, host:said("ada", 3))
    assert.same({ "newer: begun by two", "newer: seen none by two" }, host:said("bob", 2))
    local runs = host:ask("why", "ada", "--replay")
    local facts
    for _, run in ipairs(runs) do
      if run.facts["count seen 1d"] then facts = run.facts["count seen 1d"] end
    end
    assert.equal(3, facts)
  end)

  it("goes on when its campaign has gone, and after a rollback", function()
    files.remove(host.rules .. "/telling")
    files.write(host.rules .. "/other/rule.lua", 'return require "kairos".rule { on = "x", act = function() end }')
    assert.same({ "telling" }, host:ask("reload").campaigns.removed)
    go(host, "ada")
    assert.same({ "begun by one", "seen 0 by one" }, host:said("ada", 2))
    host:accept { type = "begin", user = "bob" }
    assert.equal(1, host:ask("rollback").restores)
    go(host, "ada")
    assert.same({ "begun by one", "ended by one", "seen 0 by one" }, host:said("ada", 3))
    assert.same({}, host:said("bob", 0))
  end)

  it("goes on with newer source that adopts it, where its history fits", function()
    reload(host, telling("two", { flight = '"adopt"', second = "gone" }))
    go(host, "ada")
    assert.same({ "begun by one", "seen 0 by two" }, host:said("ada", 2))
    assert.is_true(journey_of(host, "ada").serves)
    go(host, "ada") -- it waits for another event now
    host:accept { type = "gone", user = "ada" }
    assert.same({ "begun by one", "ended by two", "seen 0 by two" }, host:said("ada", 3))
  end)

  it("stays with its own where its history does not fit, and says so", function()
    reload(host, telling("two", { flight = '"adopt"', before = 'journey:wait "1m"' }))
    go(host, "ada")
    assert.same({ "begun by one", "seen 0 by one" }, host:said("ada", 2))
    local journey = journey_of(host, "ada")
    assert.is_false(journey.serves)
    assert.equal("waiting", journey.state)
    assert.truthy(journey.why:find("does not fit", 1, true), journey.why)
    assert.same({}, host:dead(0))
    go(host, "ada")
    assert.same({ "begun by one", "ended by one", "seen 0 by one" }, host:said("ada", 3))
  end)

  it("that a slip has parked goes on with mended source that adopts it, and not with its own", function()
    reload(host, (telling("one"):gsub('say%("seen "', 'error "a slip" say("seen "')))
    host:accept { type = "begin", user = "bob" }
    host:said "bob"
    go(host, "bob")
    host:dead(1)
    reload(host, telling "two")
    host:command("journeys", "move", "telling", "--user", "bob")
    assert.equal("parked", journey_of(host, "bob").state)
    local text = host:command("journeys", "--user", "bob").out
    assert.truthy(text:find('a slip.-newer one where that says flight = "adopt"'), text)
    reload(host, telling("two", { flight = '"adopt"' }))
    host:command("journeys", "move", "telling", "--user", "bob")
    assert.same({ "begun by one", "seen 0 by two" }, host:said("bob", 2))
    assert.is_true(journey_of(host, "bob").serves)
  end)

  it("is moved to newer source by the function that makes its state, or stays", function()
    host:accept { type = "begin", user = "bob" }
    assert.same({ "begun by one" }, host:said "bob")
    go(host, "bob")
    assert.same({ "begun by one", "seen 0 by one" }, host:said("bob", 2))
    reload(host, telling("two", {
      flight = [[function(journey, history)
        if #history < 2 then return nil end
        return { steps = #history, last = history[#history].step, event = journey.event.type }
      end]],
      before = [[if journey.state then
        say("moved after " .. journey.state.steps .. ", " .. journey.state.last .. ", " .. journey.state.event)
        journey:wait_for { on = "go", within = "1h" }
        say "moved on"
        return
      end]],
    }))
    go(host, "ada") -- one step: it stays
    go(host, "bob")
    assert.same({ "begun by one", "seen 0 by one" }, host:said("ada", 2))
    local moved = host:said("bob", 3)
    assert.truthy(moved[2]:find("^moved after %d+, .*, begin by two$"), moved[2])
    go(host, "bob")
    assert.equal("moved on by two", host:said("bob", 4)[3])
    assert.same({}, host:ask("journeys", "--user", "bob"))
  end)

  local named = {
    flight = [[function(journey, history, user) return { name = user.first_name or "nobody" } end]],
    before = [[if journey.state then say("moved " .. journey.state.name) return end]],
  }

  it("is moved by a function that reads the user, first of all that newer source does", function()
    reload(host, telling("two", named))
    go(host, "ada")
    assert.same({ "begun by one", "moved nobody by two" }, host:said("ada", 2))
    assert.equal(0, host:metric "kairos_recoveries")
  end)

  it("stays with nothing left of what a function that fails has written", function()
    reload(host, telling("two", { flight = [[function(journey, history, user)
      if user:once("moved", "30d") then error "a slip" end
      return { name = "moved" }
    end]] }))
    go(host, "ada")
    go(host, "ada")
    assert.same({ "begun by one", "ended by one", "seen 0 by one" }, host:said("ada", 3))
  end)

  it("stays with its own where newer source that adopts it continues afresh before its history ends", function()
    go(host, "ada")
    assert.same({ "begun by one", "seen 0 by one" }, host:said("ada", 2))
    local sooner = telling("two", { flight = '"adopt"' })
      :gsub('say%("seen "', 'if not journey.state then journey:continue { n = 1 } end %0')
    reload(host, sooner)
    go(host, "ada")
    assert.same({ "begun by one", "ended by one", "seen 0 by one" }, host:said("ada", 3))
  end)
end)

describe("kairos journeys", function()
  local host
  local waiting = [[
local kairos = require "kairos"
return kairos.journey {
  name = "waiting",
  start = { on = "begin" },
  key = "payload.key",
  run = function(journey, user)
    journey:send { channel = "push", template = "said", data = { text = "begun" } }
    if journey:wait_for { on = "fail", within = "30d" } then
      error "as ordered"
    end
    journey:send { channel = "push", template = "said", data = { text = "on" } }
    journey:wait "60d"
  end,
}
]]
  before_each(function()
    host = Host.start { rules = { waiting = waiting }, config = config }
  end)
  after_each(function() host:remove() end)

  local function begin(user, key)
    host:accept { type = "begin", user = user, payload = { key = key } }
  end
  local function counts()
    local rows = {}
    for _, row in ipairs(host:ask("journeys").counts) do
      rows[#rows + 1] = ("%s %s %s %d"):format(row.campaign, row.state, row.serves and "serves" or "earlier", row.journeys)
    end
    table.sort(rows)
    return rows
  end
  local function counted(expected)
    process.eventually(10 * Host.patience, function() return table.concat(counts(), ";") == table.concat(expected, ";") end)
    assert.same(expected, counts())
  end

  it("counts them by campaign, step, state and source, also after a kill", function()
    assert.equal("No journeys are under way.\n", host:command("journeys").out)
    for index = 1, 30 do begin("user-" .. index, "a") end
    begin("user-1", "b")
    host:accept({ type = "fail", user = "user-2" }, { type = "fail", user = "user-3" })
    counted { "waiting parked serves 2", "waiting waiting serves 29" }
    files.write(host.rules .. "/waiting/rule.lua", waiting .. "-- newer\n")
    host:ask "reload"
    begin("user-40", "a")
    host:kill()
    host:run()
    counted { "waiting parked earlier 2", "waiting waiting earlier 29", "waiting waiting serves 1" }
    local answer = host:ask("journeys", "waiting")
    assert.equal(2, answer.parked_count)
    table.sort(answer.parked, function(a, b) return a.user < b.user end)
    assert.equal("user-2", answer.parked[1].user)
    assert.equal("a", answer.parked[1].key)
    assert.truthy(answer.parked[1].why:find("rules/waiting/rule.lua:9: as ordered", 1, true), answer.parked[1].why)
    local text = host:command("journeys").out
    assert.truthy(text:find("CAMPAIGN%s+STEP%s+SOURCE%s+STATE%s+JOURNEYS%s+NEXT WAKES"), text)
    assert.truthy(text:find("waiting%s+wait_for fail within 30d.-serves%s+waiting%s+1"), text)
    local refused = host:command("journeys", "wating")
    assert.equal(3, refused.status)
    assert.equal("kairos: no campaign `wating` has journeys; `kairos journeys` lists those that have\n", refused.err)
  end)

  it("tells one person's, step by step", function()
    begin("ada", "a")
    host:said "ada"
    local journey = host:ask("journeys", "--user", "ada")[1]
    assert.equal("waiting", journey.state)
    assert.equal("a", journey.key)
    assert.equal("begin", journey.by.type)
    assert.equal("send", journey.history[1].op)
    assert.equal(8, journey.waits.line)
    assert.same({ "fail" }, journey.waits.on)
    local text = host:command("journeys", "--user", "ada").out
    assert.truthy(text:find("^waiting a, begun 20.- by begin %(e"), text)
    assert.truthy(text:find("rules/waiting/rule.lua:8", 1, true), text)
    assert.equal("This user has no journeys under way.\n", host:command("journeys", "--user", "bob").out)
    assert.same({}, host:ask("journeys", "--user", "ada", "other"))
  end)

  it("moves one on, as if its time had come, and lets a parked one try again", function()
    begin("ada", "a")
    begin("ada", "b")
    local refused = host:command("journeys", "move", "waiting", "--user", "ada")
    assert.equal(1, refused.status)
    assert.equal("kairos: ada is on 2 journeys of waiting; say which by its key: a, b\n", refused.err)
    local moved = host:ask("journeys", "move", "waiting", "b", "--user", "ada")
    assert.equal("b", moved.key)
    assert.same({ "begun", "begun", "on" }, host:said("ada", 3))
    begin("bob", "a")
    host:accept { type = "fail", user = "bob" }
    host:dead(1)
    host:kill()
    host:run()
    assert.equal("parked", journey_of(host, "bob").state)
    local id = journey_of(host, "bob").id
    local moved_on = host:command("journeys", "move", id, "--user", "bob").out
    assert.truthy(moved_on:find("Goes on now: waiting a, which stood at: wait_for fail", 1, true), moved_on)
    assert.same({ "begun", "on" }, host:said("bob", 2))
    assert.equal("waiting", journey_of(host, "bob").state)
    host:kill()
    host:run()
    assert.equal(2, #host:said("bob", 2))
    assert.equal("waiting", journey_of(host, "bob").state)
  end)

  it("ends one, with the reason", function()
    begin("ada", "a")
    host:said "ada"
    assert.equal(2, host:command("journeys", "end", "waiting").status)
    local ended = host:command("journeys", "end", "waiting", "--user", "ada", "--reason", "called us")
    assert.truthy(ended.out:find("Ended: waiting a, which stood at: wait_for fail", 1, true), ended.out)
    assert.truthy(ended.out:find("What the gate has deferred of it is cancelled", 1, true), ended.out)
    assert.same({}, host:ask("journeys", "--user", "ada"))
    counted {}
    host:kill()
    host:run()
    assert.same({}, host:ask("journeys", "--user", "ada"))
    assert.truthy(host:command("why", "ada").out:find("ended: stopped, called us", 1, true))
    local again = host:command("journeys", "end", "waiting", "--user", "ada")
    assert.equal(3, again.status)
    assert.equal("kairos: ada is on no such journey; `kairos journeys --user ada` lists them\n", again.err)
  end)
end)

describe("journeys under a clock that is set", function()
  local HOUR = 3600 * 1000
  local host, clock, directory
  local stages = [[
local kairos = require "kairos"
return kairos.journey {
  name = "staged",
  start = { on = "begin" },
  flight = "FLIGHT",
  run = function(journey)
    for stage = 1, 4 do
      journey:send { channel = "push", template = "said", data = { text = stage } }
      journey:wait "1h"
    end
    journey:send { channel = "push", template = "said", data = { text = "end" } }
  end,
}
]]
  before_each(function()
    directory = files.temporary()
    clock = Clock.new(directory)
    host = Host.start { rules = { staged = stages:gsub("FLIGHT", "pin", 1) }, config = config, env = clock:env() }
  end)
  after_each(function()
    host:remove()
    files.remove(directory)
  end)

  it("are moved by a function that reads the user, where nothing else has run since the start", function()
    host:accept { type = "begin", user = "ada" }
    assert.same({ "1" }, host:said "ada")
    files.write(host.rules .. "/staged/rule.lua",
      (stages:gsub('"FLIGHT"', "function(_, _, user) return { name = user.first_name or 'nobody' } end", 1)
        :gsub("data = { text = stage }", "data = { text = journey.state and journey.state.name or stage }")))
    host:kill()
    clock:set(1.1 * HOUR)
    host:run()
    assert.same({ "1", "nobody" }, host:said("ada", 2))
  end)

  it("end where a wait of theirs says so and does not say how late: past an hour", function()
    local exits = stages:gsub("FLIGHT", "pin", 1):gsub('journey:wait "1h"', 'journey:wait("1h", { late = "exit" })')
    files.write(host.rules .. "/staged/rule.lua", (exits))
    assert.equal("serving", host:ask("reload").result)
    host:accept({ type = "begin", user = "ada" })
    assert.same({ "1" }, host:said "ada")
    host:kill()
    clock:set(1.9 * HOUR)
    host:run()
    assert.same({ "1", "2" }, host:said("ada", 2))
    host:kill()
    clock:set(4.1 * HOUR)
    host:run()
    process.eventually(10 * Host.patience, function() return #host:ask("journeys", "--user", "ada") == 0 end)
    assert.same({}, host:ask("journeys", "--user", "ada"))
    assert.same({ "1", "2" }, host:said("ada", 2))
  end)

  it("say the same as without, once, through steps on and back, kills and newer source", function()
    local users = 20
    for index = 1, users do host:accept { type = "begin", user = "user-" .. index } end
    local function all_said(count)
      return process.eventually(20 * Host.patience, function() return #host:messages() >= count end)
    end
    assert.truthy(all_said(users))
    local stage = 1
    -- On, back by less than an hour or by days, and on again: what is due is due by the clock as it is now.
    for _, step in ipairs {
      { 1.1 * HOUR, 2 }, { 0.2 * HOUR, 2 }, { -30 * HOUR, 2, kill = true }, { 1.5 * HOUR, 2, source = "adopt" },
      { 2.3 * HOUR, 3, kill = true }, { 0, 3, kill = true, source = "pin" }, { 3.4 * HOUR, 4 }, { 3.3 * HOUR, 4, kill = true },
      { 100 * HOUR, 5 }, { -5 * HOUR, 5, kill = true }, { 0, 5 },
    } do
      if step.source then
        files.write(host.rules .. "/staged/rule.lua", (stages:gsub("FLIGHT", step.source, 1)) .. "-- " .. stage)
        assert.equal("serving", host:ask("reload").result)
      end
      clock:set(step[1])
      if step.kill then
        host:kill()
        host:run()
      end
      stage = step[2]
      assert.truthy(all_said(users * stage), ("stage %d, at %.1f h: %d messages"):format(stage, step[1] / HOUR, #host:messages()))
    end
    local per_user = {}
    for _, message in ipairs(host:messages()) do
      per_user[message.user_id] = (per_user[message.user_id] or "") .. message.body:sub(1, 1)
    end
    for index = 1, users do
      local said = {}
      for letter in per_user["user-" .. index]:gmatch "." do said[#said + 1] = letter end
      table.sort(said)
      assert.equal("1234e", table.concat(said))
    end
    assert.same({}, host:ask("journeys").counts)
  end)
end)

describe("a spec of a journey", function()
  it("changes the source under it", function()
    local directory = files.temporary()
    local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")
    files.write(directory .. "/rules/telling/rule.lua", telling "one")
    files.write(directory .. "/versions/2/telling/rule.lua", telling("two", { blind = true }))
    files.write(directory .. "/versions/3/telling/rule.lua", telling("three", { flight = '"adopt"' }))
    for _, folder in ipairs { "rules", "versions/2", "versions/3" } do
      files.write(directory .. "/" .. folder .. "/telling/said.txt", folder .. ": {{{text}}}")
    end
    files.write(directory .. "/spec/rules/telling_spec.lua", [[
      local sim = require "kairos.spec"
      it("keeps its own, or is taken over", function()
        local host = sim.host { rules = "rules/telling" }
        host:event { type = "begin", user = "ada" }
        host:reload "versions/2/telling"
        host:event { type = "begin", user = "bob" }
        host:event { type = "seen", user = "ada" }
        host:event { type = "go", user = "ada" }
        host:event { type = "go", user = "bob" }
        assert.sent(host, { to = "ada", text_has = "rules: seen 1 by one", times = 1 })
        assert.sent(host, { to = "bob", text_has = "versions/2: seen none by two", times = 1 })
        host:reload "versions/3/telling"
        host:event { type = "go", user = "ada" }
        host:event { type = "go", user = "bob" }
        assert.sent(host, { to = "ada", text_has = "versions/3: ended by three", times = 1 })
        assert.sent(host, { to = "bob", text_has = "versions/2: ended by two", times = 1 })
        assert.sent(host, 6)
      end)]])
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary .. " spec" },
      seconds = 60 * Host.patience }
    files.remove(directory)
    assert.equal(0, result.status, result.out .. result.err)
  end)
end)
