-- Experiments and holdouts: sticky variants, exposures and goals counted once through kill -9, results, Thompson sampling.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"


--- A campaign that greets with the variant as its text; `fields` more fields of the experiment, `rule` of kairos.rule.
local function greeting(fields, rule, act)
  return ([[
local kairos = require "kairos"
local subject_line = kairos.experiment {
  name = "subject_line",
  goal = { on = "order.completed", within = "1h", value = "payload.total",
    where = function(event, exposure) return event.payload.total > 0 and exposure.experiment == "subject_line" end },
  %s
}
return kairos.rule {
  name = "greet", on = "hello", %s
  act = function(event, user)
    local variant = user:variant(subject_line)
    %s
    user:send { channel = "push", template = "said", to = "phone", purpose = event.payload.purpose, data = { text = variant } }
  end,
}
]]):format(fields or "variants = { plain = 50, urgent = 50 },", rule or "", act or "")
end

--- Hello from so many users, and an order from those that `buys` says so of.
local function visit(host, first, last, buys)
  local list, now = {}, Host.now()
  for index = first, last do list[#list + 1] = { type = "hello", user = "user-" .. index, at = now - 1000 } end
  host:accept(unpack(list))
  list = {}
  for index = first, last do
    if buys and buys(index) then
      list[#list + 1] = { type = "order.completed", user = "user-" .. index, payload = { total = 10 } }
    end
  end
  if #list > 0 then host:accept(unpack(list)) end
end

local function by_variant(experiment)
  local arms = {}
  for _, arm in ipairs(experiment.variants) do arms[arm.variant] = arm end
  for _, arm in ipairs(experiment.holdout) do arms[arm.variant] = arm end
  return arms
end

local function one(host, name)
  local list = host:ask("experiments", name or "subject_line").experiments
  assert.equal(1, #list)
  return list[1], by_variant(list[1])
end

local function variant_of(host, user)
  for _, exposure in ipairs(host:ask("user", user).experiments or {}) do
    if exposure.experiment == "subject_line" then return exposure.variant, exposure end
  end
end

describe("a running host", function()
  local host
  after_each(function() host:remove() end)

  it("adds up what goals were worth, by variant: each user's first goal, to the cent", function()
    host = Host.start { rules = { greet = greeting():gsub("event%.payload%.total > 0 and ", "") } }
    local worth = { 19.99, 0.01, false, "12", -5.5, 123456789.25, 0.1, 0.2, 7, 7, false, 0 }
    visit(host, 1, #worth + 4)
    local list = {}
    for index, total in ipairs(worth) do
      list[#list + 1] = { type = "order.completed", user = "user-" .. index, payload = { total = total or nil, n = index } }
      list[#list + 1] = { type = "order.completed", user = "user-" .. index, payload = { total = 1000, n = index } }
    end
    host:accept(unpack(list))
    local sums, users, goals = { plain = 0, urgent = 0 }, { plain = 0, urgent = 0 }, { plain = 0, urgent = 0 }
    for index = 1, #worth + 4 do
      local variant = variant_of(host, "user-" .. index)
      users[variant] = users[variant] + 1
      goals[variant] = goals[variant] + (index <= #worth and 1 or 0)
      sums[variant] = sums[variant] + (tonumber(type(worth[index]) == "number" and worth[index]) or 0)
    end
    local function holds()
      local _, arms = one(host)
      for variant, sum in pairs(sums) do
        assert.equal(users[variant], arms[variant].exposures)
        assert.equal(goals[variant], arms[variant].goals)
        assert.near(sum / users[variant], arms[variant].value, 1e-6)
      end
    end
    holds()
    local table_of = host:command("experiments")
    for variant, sum in pairs(sums) do
      local shown = sum ~= 0 and ("%.2f"):format(sum / users[variant]) or ""
      assert.truthy(table_of.out:find("\n" .. variant .. " [^\n]*" .. shown:gsub("%p", "%%%0")), table_of.out)
    end
    host:kill()
    host:run()
    holds()
  end)

  it("gives each user one variant, counts exposures and goals once, also through kill -9", function()
    host = Host.start { rules = { greet = greeting() } }
    visit(host, 1, 60, function(index) return index % 3 == 0 end)
    visit(host, 1, 60, function(index) return index % 3 == 0 end) -- once more: nothing is counted twice
    local experiment, arms = one(host)
    assert.equal(60, experiment.exposures)
    assert.equal(20, experiment.goals)
    assert.equal(60, arms.plain.exposures + arms.urgent.exposures)
    assert.is_true(arms.plain.control)
    assert.is_true(math.abs(arms.plain.exposures - 30) <= 15, tostring(arms.plain.exposures))
    assert.near(200 / 60, (arms.plain.value * arms.plain.exposures + arms.urgent.value * arms.urgent.exposures) / 60, 1e-9)
    for _, arm in ipairs { arms.plain, arms.urgent } do -- counters of this process
      local labels = ('experiment="subject_line",variant="%s"'):format(arm.variant)
      assert.equal(arm.exposures, host:metric("kairos_experiment_exposures_total", labels))
      assert.equal(arm.goals, host:metric("kairos_experiment_goals_total", labels))
    end
    host:kill()
    host:run()
    local again, arms_again = one(host)
    assert.same(arms, arms_again)
    assert.equal(experiment.goals, again.goals)
    -- Who came before keeps his variant and is not counted again, nor is his goal.
    visit(host, 1, 70, function() return true end)
    host:kill()
    host:run()
    again = one(host)
    assert.equal(70, again.exposures)
    assert.equal(70, again.goals)
    local table_shown = host:command "experiments"
    assert.equal(0, table_shown.status)
    assert.truthy(table_shown.out:find("subject_line: order.completed within 1h", 1, true), table_shown.out)
    assert.truthy(table_shown.out:find("plain .*control"), table_shown.out)
    assert.equal(3, host:command("experiments", "nothing").status)
    local why = host:ask("why", "user-3", "subject_line")
    assert.equal("exposed", why[1].decision)
    assert.equal("goal", why[2].decision)
    assert.equal(10, why[2].value)
    assert.equal(variant_of(host, "user-3"), why[2].variant)
    assert.truthy(host:command("why", "user-3").out:find("reached the goal of the experiment subject_line: ", 1, true))
  end)

  it("a variant stays the user's when weights change, and the replay tells what was chosen then", function()
    host = Host.start { rules = { greet = greeting "variants = { plain = 50, urgent = 50 }," } }
    visit(host, 1, 40)
    local before = {}
    for index = 1, 40 do before[index] = variant_of(host, "user-" .. index) end
    files.write(host.rules .. "/greet/rule.lua", greeting "variants = { plain = 1, urgent = 99 },")
    assert.equal(0, host:command("reload").status)
    visit(host, 1, 80)
    local plain, moved = 0, {}
    for index = 1, 40 do
      if variant_of(host, "user-" .. index) ~= before[index] then moved[#moved + 1] = index end
    end
    assert.same({}, moved)
    for index = 41, 80 do plain = plain + (variant_of(host, "user-" .. index) == "plain" and 1 or 0) end
    assert.is_true(plain <= 6, tostring(plain))
    -- Under the weights of today user-N of `plain` might be chosen otherwise: the replay goes by the log.
    for index = 1, 40 do
      local user = "user-" .. index
      for _, run in ipairs(host:ask("why", user, "--replay")) do
        assert.equal(before[index], run.facts["variant [subject_line]"])
      end
    end
    local experiment = one(host)
    assert.is_false(experiment.mismatch)
  end)

  it("who is held out gets nothing but what is transactional, and why says so", function()
    host = Host.start { rules = {
      greet = greeting 'variants = { plain = 1 }, holdout = "100%",',
      news = [[
        local kairos = require "kairos"
        return kairos.rule { on = "hello", holdout = "100%", goal = { on = "order.completed", within = "1h" },
          act = function(event, user)
            user:send { channel = "push", template = "said", to = "phone", purpose = event.payload.purpose,
              data = { text = "news" } }
          end }]],
    } }
    host:accept({ type = "hello", user = "ada", at = Host.now() - 1000 })
    host:accept({ type = "hello", user = "ada", payload = { purpose = "transactional" } },
      { type = "order.completed", user = "ada", payload = { total = 5 } })
    assert.same({ "news", "plain" }, host:said("ada", 2))
    local reasons = {}
    for _, decision in ipairs(host:ask("why", "ada")) do
      if decision.decision == "skip" then
        assert.equal("holdout", decision.reason)
        reasons[decision.campaign] = decision.checks.holdout
      end
    end
    assert.truthy(reasons.greet:find("held out by the experiment subject_line", 1, true))
    assert.truthy(reasons.news:find("among the 100% that the campaign holds out", 1, true))
    local _, arms = one(host)
    assert.equal(1, arms["*holdout"].exposures)
    assert.equal(1, arms["*holdout"].goals)
    _, arms = one(host, "news")
    assert.equal(1, arms["*holdout"].goals)
  end)

  it("the configuration's holdout reaches all campaigns, by a share that grows by adding", function()
    host = Host.start { rules = { greet = greeting() }, config = { holdout = { share = "30%", salt = "a" } } }
    visit(host, 1, 200)
    local experiment, arms = one(host)
    local held = arms["*host"].exposures
    assert.near(0.3, arms["*host"].share, 1e-9)
    assert.is_number(arms["*host"].p)
    assert.is_false(experiment.mismatch)
    assert.is_true(held > 35 and held < 85, tostring(held))
    local sent, first = 0, {}
    for index = 1, 200 do
      local decision = host:ask("why", "user-" .. index, "greet")[1]
      sent = sent + (decision.decision == "send" and 1 or 0)
      if decision.decision == "skip" then
        assert.equal("holdout", decision.reason)
        first[index] = true
      end
    end
    assert.equal(200 - held, sent)
    assert.equal(held, (function() local n = 0 for _ in pairs(first) do n = n + 1 end return n end)())
  end)

  it("Thompson sampling draws weights, goes on with them after kill -9, and a replay tells what they chose", function()
    host = Host.start { rules = {
      greet = greeting [[variants = { plain = 1, urgent = 999 }, choose = "thompson", every = "1m",]],
    }, config = { log = { segment_age = "1s" } } }
    -- Nothing is known yet, so neither is likelier to be the best than the other, whatever the declaration says.
    local drawn
    assert.is_true(process.eventually(20 * Host.patience, function()
      drawn = host:ask "experiments"
      return drawn.weights.subject_line ~= nil
    end) == true)
    assert.same({ plain = 500000, urgent = 500000 }, drawn.weights.subject_line)
    host:kill()
    host:run()
    assert.same(drawn.weights, host:ask("experiments").weights)
    visit(host, 1, 60)
    local experiment, arms = one(host)
    assert.equal("thompson", experiment.choose)
    assert.is_true(arms.plain.exposures > 10 and arms.urgent.exposures > 10, tostring(arms.plain.exposures))
    local function replays()
      for index = 1, 60 do
        local runs = host:ask("why", "user-" .. index, "--replay")
        assert.equal(1, #runs)
        assert.equal(variant_of(host, "user-" .. index), runs[1].facts["variant [subject_line]"])
      end
    end
    replays()
    -- And when the segments that tell of it have been sorted into the store: new events make new segments.
    local sealed = host:ask("status").sealed_segment
    assert.is_true(process.eventually(30 * Host.patience, function()
      host:accept { type = "other", user = "nobody" }
      return host:ask("status").sealed_segment >= sealed + 2
    end) == true)
    replays()
    assert.truthy(host:command("experiments").out:find("shares now: plain 50 %, urgent 50 %", 1, true))
    local tried = 0
    for index = 1001, 1030 do
      local answer = host:command("repl", "-e", ("try { type = 'hello', user = 'user-%d' }"):format(index))
      assert.equal(0, answer.status, answer.err)
      tried = tried + (answer.out:find('"plain"', 1, true) and 1 or 0)
    end
    assert.is_true(tried > 3, tostring(tried))
  end)

  it("who is held out is told a variant that does not go by drawn weights, which no replay of him could know", function()
    host = Host.start { rules = {
      greet = greeting [[variants = { plain = 1, urgent = 999 }, choose = "thompson", every = "1m", holdout = "100%",]],
    } }
    assert.is_true(process.eventually(20 * Host.patience, function()
      return host:ask("experiments").weights.subject_line ~= nil
    end) == true)
    local list = {}
    for index = 1, 20 do
      list[index] = { type = "hello", user = "user-" .. index, at = Host.now() - 1000, payload = { purpose = "transactional" } }
    end
    host:accept(unpack(list))
    for index = 1, 20 do
      local told = host:said("user-" .. index, 1)[1]
      local runs = host:ask("why", "user-" .. index, "--replay")
      assert.equal(told .. " (held out)", runs[1].facts["variant [subject_line]"])
    end
  end)

  it("weights whose log write fails are those before, and the host recovers although nobody else wrote", function()
    host = Host.start {
      rules = { greet = greeting [[variants = { plain = 1, urgent = 999 }, choose = "thompson",]] },
      env = { KAIROS_FAILPOINTS = "log.fsync=error@2" },
    }
    assert.is_true(process.eventually(20 * Host.patience, function()
      return host:output():find("weights could not be drawn", 1, true) and host:output():find("running again", 1, true) ~= nil
    end) == true)
    host:kill()
    host:launch { KAIROS_FAILPOINTS = "experiments.logged=kill" }
    assert.is_true(process.eventually(20 * Host.patience, function() return not host.process:alive() end) == true)
    host:run { KAIROS_FAILPOINTS = "" }
    visit(host, 1, 5)
    assert.equal(5, (one(host)).exposures)
  end)
end)

describe("in simulate and specs", function()
  local directory
  local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Run the body of one spec over a rule. @return its status and its message
  local function body(rule, text, options)
    files.write(directory .. "/rules/greet/rule.lua", rule)
    files.write(directory .. "/rules/greet/said.txt", "{{{text}}}")
    files.write(directory .. "/spec/rules/one_spec.lua",
      'local sim = require "kairos.spec"\nit("x", function()\nlocal host = sim.host '
      .. (options or '{ rules = "rules/greet" }') .. "\n" .. text .. "\nend)\n")
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary
      .. " spec --json spec/rules/one_spec.lua" }, seconds = 60 * Host.patience }
    local test = cjson.decode(result.out).files[1].tests[1]
    return test.status, test.message
  end
  local function passes(...)
    local status, message = body(...)
    assert.equal("passed", status, message)
  end
  local function fails(message_has, ...)
    local status, message = body(...)
    assert.not_equal("passed", status)
    assert.truthy(message:find(message_has, 1, true), message)
  end

  it("a spec forces a variant, asks for it, and asserts exposures and goals", function()
    passes(greeting(), [[
      host:event { type = "hello", user = "ada" }
      assert.sent(host, { to = "ada", text_has = "urgent" })
      assert.exposed(host, { to = "ada", experiment = "subject_line", variant = "urgent", goal = false })
      assert.equal("urgent", host:variant("ada", "subject_line"))
      assert.is_nil(host:variant("bob", "subject_line"))
      host:advance "30m"
      host:event { type = "order.completed", user = "ada", payload = { total = 0 } }
      assert.exposed(host, { to = "ada", goal = false })
      host:event { type = "order.completed", user = "ada", payload = { total = 12.5 } }
      host:event { type = "order.completed", user = "ada", payload = { total = 99 } }
      assert.exposed(host, { to = "ada", goal = true, value = 12.5, times = 1 })
      assert.not_exposed(host, { to = "bob" })
      assert.equal(1, host:experiments("subject_line")[1].goals)
    ]], '{ rules = "rules/greet", variants = { subject_line = "urgent" } }')
    passes(greeting(nil, nil), [[
      host:event { type = "hello", user = "ada" }
      assert.held_back(host, { to = "ada", by = "holdout", because = "held out by the experiment" })
      assert.equal("*holdout", host:variant("ada", "subject_line"))
    ]], '{ rules = "rules/greet", variants = { subject_line = "*holdout" } }')
    fails("the experiment subject_line has no variant `urgnt`", greeting(), "", '{ variants = { subject_line = "urgnt" } }')
    fails("there is no experiment `subject`", greeting(), "", '{ variants = { subject = "urgent" } }')
  end)

  it("who had a variant that is declared no more gets the control, and counts where he was", function()
    files.write(directory .. "/2/greet/rule.lua", greeting 'variants = { "calm", "plain" }, control = "plain",')
    files.write(directory .. "/2/greet/said.txt", "{{{text}}}")
    passes(greeting(), [[
      host:event { type = "hello", user = "ada" }
      host:reload "2/greet"
      host:event { type = "hello", user = "ada" }
      assert.sent(host, { to = "ada", text_has = "urgent", times = 1 })
      assert.sent(host, { to = "ada", text_has = "plain", times = 1 })
      assert.equal("plain (in place of urgent, which is declared no more)",
        host:decisions()[#host:decisions()].facts["variant [subject_line]"])
      host:event { type = "order.completed", user = "ada", payload = { total = 5 } }
      assert.exposed(host, { to = "ada", variant = "urgent", goal = true, times = 1 })
    ]], '{ rules = "rules/greet", variants = { subject_line = "urgent" } }')
  end)

  it("a journey asks for a variant, keeps it to its end, and may hold out", function()
    local chasing = [[
local kairos = require "kairos"
local words = kairos.experiment { name = "words", variants = { "kind", "short" }, goal = { on = "order.completed", within = "3d" } }
return kairos.journey {
  start = { on = "hello" }, %s
  run = function(journey, user)
    journey:wait "1h"
    journey:send { channel = "push", template = "said", to = "phone", data = { text = user:variant(words) .. " one" } }
    journey:wait "1d"
    journey:send { channel = "push", template = "said", to = "phone", data = { text = user:variant(words) .. " two" } }
  end,
}
]]
    passes(chasing:format "", [[
      host:event { type = "hello", user = "ada" }
      assert.not_exposed(host)
      host:advance "1h"
      assert.exposed(host, { to = "ada", experiment = "words", times = 1 })
      local variant = host:variant("ada", "words")
      host:advance "1d"
      assert.sent(host, { to = "ada", text_has = variant .. " one" })
      assert.sent(host, { to = "ada", text_has = variant .. " two" })
      host:event { type = "order.completed", user = "ada" }
      assert.exposed(host, { to = "ada", goal = true, times = 1 })
    ]])
    passes(chasing:format 'holdout = "100%", worth = { on = "order.completed", within = "7d" },', [[
      host:event { type = "hello", user = "ada" }
      host:advance "2d"
      assert.not_sent(host)
      assert.held_back(host, { to = "ada", by = "holdout", because = "that the campaign holds out", times = 2 })
      host:event { type = "order.completed", user = "ada" }
      assert.exposed(host, { to = "ada", experiment = "greet", variant = "*holdout", goal = true })
      assert.equal(1, host:experiments("greet")[1].holdout[1].goals)
    ]])
  end)

  it("a goal counts within its time after the exposure, to the millisecond, and not the event that exposes", function()
    passes(greeting(nil, nil), [[
      local function order() host:event { type = "order.completed", user = "ada", payload = { total = 1 } } end
      order()
      host:event { type = "hello", user = "ada" }
      host:advance "1h"
      order()
      assert.exposed(host, { to = "ada", goal = true })
      host:event { type = "hello", user = "bob" }
      host:advance "1h"
      host:advance "1s"
      host:event { type = "order.completed", user = "bob", payload = { total = 1 } }
      assert.exposed(host, { to = "bob", goal = false })
    ]])
    passes((greeting():gsub('on = "hello"', 'on = "order.completed"')), [[
      host:event { type = "order.completed", user = "ada", payload = { total = 1 } }
      assert.exposed(host, { to = "ada", goal = false })
    ]])
  end)

  it("Thompson sampling sends more users to the variant that does better, on a schedule, once goals are settled", function()
    passes(greeting [[variants = { plain = 1, urgent = 1 }, choose = "thompson", every = "1h",]], [[
      local function visit(first, last)
        local count = { plain = 0, urgent = 0 }
        for index = first, last do
          local user = "user-" .. index
          host:event { type = "hello", user = user }
          local variant = host:variant(user, "subject_line")
          count[variant] = count[variant] + 1
          if variant == "urgent" and index % 3 == 0 then
            host:event { type = "order.completed", user = user, payload = { total = 1 } }
          end
        end
        return count
      end
      local count = visit(1, 300)
      assert.is_true(count.plain > 100 and count.urgent > 100, count.plain)
      host:advance "59m" -- drawn anew, and nothing is settled yet
      count = visit(301, 400)
      assert.is_true(count.plain > 25 and count.urgent > 25, count.plain)
      host:advance "61m"
      count = visit(401, 600)
      assert.is_true(count.urgent > 185, count.urgent)
      local experiment = host:experiments("subject_line")[1]
      assert.is_false(experiment.mismatch)
      assert.truthy(experiment.verdict:find("urgent does better than plain", 1, true), experiment.verdict)
    ]])
  end)

  it("a shadow exposes nobody; `when` is told why it may not ask; a `where` that fails is a dead letter of its own", function()
    passes(greeting(nil, 'mode = "shadow",'), [[
      host:event { type = "hello", user = "ada" }
      assert.not_exposed(host)
      assert.held_back(host, { to = "ada", by = "shadow" })
    ]])
    passes((greeting(nil, "when = function(event, user) return user:variant(subject_line) end,")), [[
      host:event { type = "hello", user = "ada" }
      assert.failed(host, { campaign = "greet", error_has = "write user:variant(…) in `act`" })
    ]])
    passes(greeting(), [[
      host:event { type = "hello", subject = "a-thing" }
      assert.failed(host, { campaign = "greet", error_has = "about a subject, not a user" })
    ]])
    passes((greeting():gsub("event.payload.total > 0", "event.payload.totl.x > 0")), [[
      host:event { type = "hello", user = "ada" }
      host:event { type = "order.completed", user = "ada", payload = { total = 1 } }
      assert.failed(host, { campaign = "experiment:subject_line", error_has = "rule.lua:5" })
      assert.exposed(host, { to = "ada", goal = false })
    ]])
  end)

  it("growing one variant's weight moves users to it alone, and shares are as the weights say", function()
    for _, name in ipairs { "a", "b", "c" } do files.write(directory .. "/rules/greet/" .. name .. ".txt", "hello") end
    local events = {}
    for index = 1, 2000 do events[index] = Host.event { type = "hello", user = "user-" .. index, at = 1764000000000 + index } end
    files.write(directory .. "/events.ndjson", Host.ndjson(events))
    local function variants(weights)
      files.write(directory .. "/rules/greet/rule.lua", (greeting("variants = " .. weights .. ","):gsub('"said"', "variant")))
      local result = process.run { command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events",
        directory .. "/events.ndjson" }, seconds = 60 * Host.patience }
      assert.equal(0, result.status, result.err)
      local found, count = {}, { a = 0, b = 0, c = 0 }
      for line in result.out:gmatch "[^\n]+" do
        local decision = cjson.decode(line)
        found[decision.user_id] = decision.template
        count[decision.template] = count[decision.template] + 1
      end
      return found, count
    end
    local before, count = variants "{ a = 50, b = 30, c = 20 }"
    assert.is_true(math.abs(count.a - 1000) < 110 and math.abs(count.b - 600) < 100 and math.abs(count.c - 400) < 90)
    local moved = 0
    for user, variant in pairs((variants "{ a = 50, b = 30, c = 60 }")) do
      assert.is_true(variant == before[user] or variant == "c")
      moved = moved + (variant == before[user] and 0 or 1)
    end
    assert.is_true(moved > 300, tostring(moved)) -- from a fifth to three sevenths
  end)

  it("declarations that cannot be meant are told what to write", function()
    for _, case in ipairs {
      { "variants = { plain = 50 },", "one variant alone is compared with nothing" },
      { "variants = { plain = 0, urgent = 1 },", "`plain` has no weight, so nobody would get it" },
      { 'variants = { "plain", "plain" },', 'has "plain" twice' },
      { 'variants = { "a", "b" }, control = "c",', "`control` is no variant" },
      { 'variants = { "a", "b" }, holdout = "ten",', "`holdout` of kairos.experiment is no share of the users" },
      { 'variants = { "a", "b" }, choose = "best",', 'there are: fixed, thompson' },
      { 'variants = { "a", "b" }, every = "1h",', '`every` is for choose = "thompson"' },
      { 'variants = { "a", "b" }, variant = 1,', "has no field `variant`; write variants" },
    } do
      files.write(directory .. "/rules/greet/rule.lua", greeting(case[1]))
      files.write(directory .. "/rules/greet/said.txt", "{{{text}}}")
      local result = process.run { command = { Host.binary, "check", "--rules", directory .. "/rules" },
        seconds = 60 * Host.patience }
      local said = result.out .. result.err
      assert.not_equal(0, result.status, case[1])
      assert.truthy(said:find(case[2], 1, true), case[1] .. "\n" .. said)
    end
    files.write(directory .. "/rules/greet/rule.lua", greeting())
    files.write(directory .. "/rules/other/rule.lua", (greeting():gsub('name = "greet"', 'name = "other"')))
    files.write(directory .. "/rules/other/said.txt", "{{{text}}}")
    local result = process.run { command = { Host.binary, "check", "--rules", directory .. "/rules" },
      seconds = 60 * Host.patience }
    assert.truthy((result.out .. result.err):find("an experiment named `subject_line` is in rules/greet/rule.lua already", 1, true),
      result.out .. result.err)
  end)
end)
