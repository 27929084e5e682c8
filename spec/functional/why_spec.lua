-- For every message sent and every message not sent: which rule, which version of it, on which facts, and what each
-- check answered.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local process = require "spec.functional.support.process"

local telling = [[
local kairos = require "kairos"
local told = kairos.window { of = "tell", over = "1d" }
return kairos.rule {
  name = "telling",
  on = "tell",
  when = function(event, user) return user:count(told) >= 2 end,
  act = function(event, user)
    if event.payload.fail then error "on purpose" end
    user:send { channel = event.payload.channel or "push", template = "said", once_per = event.payload.once_per,
      data = { text = user.first_name } }
  end,
}
]]

describe("kairos why", function()
  local host
  after_each(function() host:remove() end)

  it("tells what was read, what each check answered, and what came of it", function()
    host = Host.start { rules = { telling = telling } }
    host:accept({ type = "identify", user = "ada", payload = { first_name = "Ada" } }, { type = "tell", user = "ada" })
    local before = Host.now()
    host:accept({ id = "the-cause", type = "tell", user = "ada", payload = { once_per = "1d" } },
      { type = "tell", user = "ada", payload = { once_per = "1d" } }, { type = "tell", user = "ada", payload = { fail = true } })
    host:said "ada"
    process.eventually(5, function() return #(host:ask("why", "ada")[1].outcomes or {}) > 0 end)
    local sent, skipped, failed = unpack(host:ask("why", "ada"))

    assert.equal("send", sent.decision)
    assert.equal("telling", sent.campaign)
    assert.equal("telling/rule.lua", sent.rule)
    assert.equal(1, sent.generation)
    assert.equal("the-cause", sent.cause)
    assert.is_true(sent.at >= before and sent.accepted <= Host.now())
    local facts = {}
    for name, value in pairs(sent.facts) do facts[#facts + 1] = name .. "=" .. tostring(value) end
    table.sort(facts)
    assert.truthy(table.concat(facts, " "):find "tell.*=2", table.concat(facts, " "))
    assert.truthy(table.concat(facts, " "):find("first_name=Ada", 1, true), table.concat(facts, " "))
    assert.is_string(sent.checks.once_per)
    assert.is_string(sent.checks.suppressed)
    assert.equal("accepted", sent.outcomes[1].outcome)
    assert.is_true(sent.outcomes[1].at >= sent.accepted)

    assert.equal("skip", skipped.decision)
    assert.equal("once_per", skipped.reason)
    assert.truthy(skipped.checks.once_per:find "%d%d%d%d%-%d%d%-%d%d", skipped.checks.once_per)

    assert.equal("failed", failed.decision)
    assert.truthy(failed.error:find("telling/rule.lua:8", 1, true))
  end)

  it("tells each attempt", function()
    local sink = Sink.start()
    finally(function() sink:remove() end)
    sink:answer { next = { { status = 500 }, { status = 429 } }, default = { status = 200 } }
    host = Host.start { rules = { telling = telling }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", backoff_base = "20ms",
        backoff_max = "50ms" } },
      routes = { webhook = "hook" },
    } }
    host:accept({ type = "tell", user = "ada" }, { type = "tell", user = "ada", payload = { channel = "webhook" } })
    sink:await(3)
    local decision
    process.eventually(5 * Host.patience, function()
      decision = host:ask("why", "ada")[1]
      return #(decision.outcomes or {}) >= 3
    end)
    assert.equal("hook", decision.provider)
    local attempts, outcomes = {}, {}
    for index, attempt in ipairs(decision.attempts) do attempts[index] = attempt.attempt end
    for index, outcome in ipairs(decision.outcomes) do outcomes[index] = outcome.outcome end
    assert.same({ 1, 2, 3 }, attempts)
    assert.same({ "retry", "retry", "accepted" }, outcomes)
    assert.truthy(decision.outcomes[1].detail:find "500")
  end)

  it("looks back on dead letters that were retried, too", function()
    host = Host.start { rules = { counting = [[
local kairos = require "kairos"
return kairos.rule { on = "tell", act = function(event, user)
  user:set("told", (user.told or 0) + 1)
  if event.payload.fail and not user.mended then error "on purpose" end
  user:send { channel = "push", template = "said", data = { text = "told" }, once_per = "1d" }
end }
]] }, config = { log = { segment_age = "1s" }, state = { checkpoint_every = "200ms", write_behind = "50ms" } } }
    local function again()
      local found = {}
      for index, run in ipairs(host:ask("why", "ada", "--replay")) do
        local told = run.facts.told
        found[index] = run.decision .. " " .. (type(told) == "number" and told or "none")
      end
      return found
    end
    host:accept({ type = "tell", user = "ada", payload = { fail = true } },
      { type = "identify", user = "ada", payload = { mended = true } })
    assert.equal(0, host:command("dead", "retry", host:dead(1)[1].id).status)
    host:accept { type = "tell", user = "ada" }
    assert.equal(1, host:ask("why", "ada")[3].facts.told)
    assert.equal("once_per", host:ask("why", "ada")[3].reason)
    local expected = { "failed none", "send none", "skip 1" }
    assert.same(expected, again())
    process.eventually(8 * Host.patience, function()
      host:accept { type = "tell", user = "filler" }
      return host:ask("status").sealed_segment >= 1
    end)
    assert.same(expected, again())
  end)

  it("tells of one template or campaign only when asked to", function()
    host = Host.start { rules = { telling = telling, other = (telling:gsub('"telling"', '"other"')) } }
    host:accept({ type = "tell", user = "ada" }, { type = "tell", user = "ada" })
    assert.equal(2, #host:ask("why", "ada"))
    assert.equal(2, #host:ask("why", "ada", "said"))
    local only = host:ask("why", "ada", "other")
    assert.equal(1, #only)
    assert.equal("other", only[1].campaign)
  end)

  it("remembers what has been sealed, through restarts and beside what is new", function()
    host = Host.start { rules = { telling = telling },
      config = { log = { segment_age = "1s" }, state = { checkpoint_every = "200ms", write_behind = "50ms" } } }
    host:accept({ type = "tell", user = "ada" }, { type = "tell", user = "ada" })
    process.eventually(8 * Host.patience, function()
      host:accept { type = "tell", user = "filler" }
      return host:ask("status").sealed_segment >= 1
    end)
    assert.is_true(host:ask("status").sealed_segment >= 1)
    host:accept { type = "tell", user = "ada" }
    assert.equal(2, #host:ask("why", "ada"))
    host:kill()
    host:run()
    host:accept { type = "tell", user = "ada" }
    local decisions = host:ask("why", "ada")
    assert.equal(3, #decisions)
    for index = 2, 3 do assert.is_true(decisions[index].at >= decisions[index - 1].at) end
    host:stop()
    assert.equal(3, #host:ask("why", "ada"))
  end)

  it("shows times, rule and reasons to people too", function()
    host = Host.start { rules = { telling = telling } }
    host:accept({ type = "tell", user = "ada" }, { type = "tell", user = "ada", payload = { once_per = "1d" } },
      { type = "tell", user = "ada", payload = { once_per = "1d" } })
    host:await_messages(1)
    local text
    process.eventually(5 * Host.patience, function() -- the outcome is logged after the file is there
      text = host:command("why", "ada").out
      return text:find("said was sent", 1, true)
    end)
    for _, word in ipairs { "telling", "said was sent", "said was not sent: once_per", os.date "!%Y-%m-%d" } do
      assert.truthy(text:find(word, 1, true), word .. " is not in:\n" .. text)
    end
  end)
end)
