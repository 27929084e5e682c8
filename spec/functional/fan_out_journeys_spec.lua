-- Journeys that an event about a thing begins: one for each who cares for it.
local fan_outs = require "spec.functional.support.fan_outs"
local Host = require "spec.functional.support.host"

--- Who looked at a product is told twice that its price dropped.
-- @param start  more of its start
-- @param run  before it says anything
local function price_drop(start, run)
  return ([[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", by = "payload.sku", over = "30d" }
return kairos.journey {
  name = "price_drop",
  start = {
    on = "price.dropped",
    for_each = function(event) return watchers:of(event.payload.sku) end,
    when = function(event, user) return not user.left end,
    %s
  },
  key = "payload.sku",
  run = function(journey, user, event)
    local function say(text)
      journey:send { channel = "push", template = "said",
        data = { text = ("%%s %%s %%d, for %%s"):format(text, journey.key, event.payload.price, user.first_name or "you") } }
    end
    %s
    say "first"
    journey:wait "1s"
    say "again"
  end,
}
]]):format(start or "", run or "")
end

local function drop(id, sku)
  return { type = "price.dropped", subject = sku or "K1", id = id, payload = { sku = sku or "K1", price = 9 } }
end

describe("a fan-out over a journey", function()
  local host
  local function start(options)
    options.rules = options.rules or { price_drop = price_drop(options.start) }
    host = Host.start(options)
    return host
  end
  after_each(function() if host then host:remove() end end)

  it("begins it for each who cares, by its `when`, key and `again`, on his own record", function()
    start {}
    host:accept({ type = "identify", user = "w1", payload = { first_name = "Ada" } },
      { type = "identify", user = "w2", payload = { left = true } })
    fan_outs.watch(host, 4)
    host:accept({ type = "product.viewed", user = "w4", payload = { sku = "K2" } }, drop "d1")
    local fan_out = fan_outs.await(host, fan_outs.is "done", 10, "d1")
    assert.equal(4, fan_out.reached)
    -- Those of another key begin beside it, those of the same do not.
    host:accept(drop "d2", drop("d3", "K2"))
    fan_outs.await(host, fan_outs.is "done", 10, "d2")
    fan_outs.await(host, fan_outs.is "done", 10, "d3")
    assert.same({ "again K1 9, for Ada", "first K1 9, for Ada" }, host:said("w1", 2))
    assert.same({ "again K1 9, for you", "again K2 9, for you", "first K1 9, for you", "first K2 9, for you" }, host:said("w4", 4))
    assert.same({}, host:said("w2", 0))
    -- Why: his first message names the fan-out, and a replay tells what the others were told.
    local decision
    for _, one in ipairs(host:ask("why", "w1")) do decision = one.cause == "d1" and one or decision end
    assert.equal(fan_out.id, decision.facts.fan_out.id)
    assert.equal("price.dropped", decision.facts.fan_out.event)
    local reasons = {}
    for _, run in ipairs(host:ask("why", "w1", "--replay")) do reasons[#reasons + 1] = run.decision .. ": " .. run.reason end
    assert.truthy(table.concat(reasons, "\n"):find("is under way already", 1, true), table.concat(reasons, "\n"))
    local runs = host:ask("why", "w2", "--replay")
    assert.equal("its `when` said no", runs[#runs].reason)
    assert.equal(2, #runs)
  end)

  it("begins each once, and each comes to its end, through kill -9", function()
    local COUNT = 600
    start { start = 'pace = "300/s",', config = { state = { checkpoint_every = "300ms", write_behind = "50ms" },
      log = { segment_age = "1s" } } }
    fan_outs.watch(host, COUNT)
    host:accept(drop "d1")
    for kill = 1, 3 do
      fan_outs.await(host, function(fan_out) return fan_out.reached >= kill * 150 end, 20)
      host:kill()
      host:run()
    end
    assert.equal(COUNT, fan_outs.await(host, fan_outs.is "done", 30).reached)
    local got, count = {}, 0
    for _, message in ipairs(host:await_messages(2 * COUNT, 30)) do
      local key = message.user_id .. message.body
      assert.is_nil(got[key], "twice: " .. key)
      got[key], count = true, count + 1
    end
    assert.equal(2 * COUNT, count)
  end)

  it("leaves a dead letter for whom it fails, in its `when` as in its `run`, and begins when that is retried", function()
    start { rules = { price_drop = price_drop("", 'if user.first_name == "Bad" then error "no" end')
      :gsub("return not user.left", 'return user.first_name ~= "Worse" or error "no"') } }
    fan_outs.watch(host, 3)
    host:accept({ type = "identify", user = "w1", payload = { first_name = "Bad" } },
      { type = "identify", user = "w2", payload = { first_name = "Worse" } }, drop "d1")
    assert.equal(3, fan_outs.await(host, fan_outs.is "done").reached)
    local letters = host:dead(2)
    assert.equal(2, #letters)
    for _, letter in ipairs(letters) do
      assert.equal("d1", host:ask("dead", "show", letter.id).cause)
      assert.equal(1, host:command("dead", "retry", letter.id).status)
    end
    host:kill()
    host:run()
    host:accept({ type = "identify", user = "w1", payload = { first_name = "Good" } },
      { type = "identify", user = "w2", payload = { first_name = "Better" } })
    for _, letter in ipairs(letters) do
      local retried = host:command("dead", "retry", letter.id)
      assert.equal(0, retried.status, retried.out .. retried.err)
    end
    assert.same({ "again K1 9, for Good", "first K1 9, for Good" }, host:said("w1", 2))
    assert.same({ "again K1 9, for Better", "first K1 9, for Better" }, host:said("w2", 2))
    assert.same({}, host:dead())
  end)

  it("says the same in a simulation", function()
    start { rules = { price_drop = price_drop 'pace = "50/s",' } }
    local expected = fan_outs.simulated(host)
    local found = {}
    for _, message in ipairs(host:await_messages(80, 20)) do found[message.message_id] = message.user_id end
    assert.same(expected, found)
  end)

  it("tells apart what several fan-outs of one event emit for a user", function()
    local function relay(name)
      return ([[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", by = "payload.sku", over = "30d" }
return kairos.rule {
  name = "%s",
  on = "price.dropped",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  act = function(event, user) user:emit { type = "dropped", payload = { by = "%s" } } end,
}
]]):format(name, name)
    end
    start { rules = { one = relay "one", two = relay "two", tells = [[
return require "kairos".rule { on = "dropped", act = function(event, user)
  user:send { channel = "push", template = "said", data = { text = event.payload.by } }
end }
]] } }
    fan_outs.watch(host, 1)
    host:accept(drop "d1")
    assert.same({ "one", "two" }, host:said("w1", 2))
  end)
end)

describe("the start of a journey with for_each", function()
  it("is refused with what to write instead", function()
    local given = price_drop()
    for _, case in ipairs {
      { given, nil },
      { price_drop 'pace = "fast",', "`pace` of `start`" },
      { (price_drop 'pace = "5/s",':gsub("for_each = [^\n]*\n", "")), "there is no `for_each`" },
      { (given:gsub("for_each = [^\n]*\n", 'for_each = "everybody",\n')), "`for_each` of" },
      { (given:gsub('key = "payload.sku"', "for_each = watchers:of(1)")), "write it in start = { on" },
    } do
      local host = Host.new { rules = { price_drop = case[1] } }
      local result = host:command "check"
      host:remove()
      assert.equal(case[2] and 1 or 0, result.status, result.out .. result.err)
      if case[2] then assert.truthy((result.out .. result.err):find(case[2], 1, true), result.out .. result.err) end
    end
  end)
end)
