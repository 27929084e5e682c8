-- Fan-outs on a virtual clock: stories of an event about a thing and those who care for it.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")

--- A rule that tells who looked at a product. @param more  further fields, first of all its `for_each`
local function rule(more)
  return ([[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = { "product.viewed", "product.favourited" }, by = "payload.sku",
  over = "30d" }
return kairos.rule {
  on = "price.dropped",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  %s
  act = function(event, user)
    if user.first_name == "Bad" then error "no" end
    user:send { channel = "push", to = "p", template = "said", data = { text = event.payload.price } }
  end,
}
]]):format(more or "")
end

describe("a fan-out in a spec", function()
  local directory
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Run the body of one test over a rule, and a later version of it in rules/after. @return its status and its message
  local function story(text, body, after)
    files.write(directory .. "/rules/drop/rule.lua", text)
    files.write(directory .. "/rules/drop/said.txt", "{{{text}}}\n")
    files.write(directory .. "/later/drop/rule.lua", after or text)
    files.write(directory .. "/later/drop/said.txt", "{{{text}}}\n")
    files.write(directory .. "/spec/rules/drop_spec.lua", [[
local sim = require "kairos.spec"
it("x", function()
  local host = sim.host { rules = "rules/drop", at = "2026-06-01 20:00 Europe/Berlin" }
  local function look(user, sku, type)
    host:event { type = type or "product.viewed", user = user, payload = { sku = sku or "K1" } }
  end
  local function look_all(count) for i = 1, count do look("w" .. i) end end
  local function drop(id, sku)
    host:event { type = "price.dropped", subject = sku or "K1", id = id, payload = { sku = sku or "K1", price = 9 } }
  end
  local function after(duration)
    host:advance(duration)
    return #host:sent()
  end
]] .. body .. "\nend)\n")
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary .. " spec --json" },
      seconds = 60 * Host.patience }
    local ok, answer = pcall(cjson.decode, result.out)
    if not ok then return "failed", result.out .. result.err end
    local test = answer.files[1].tests[1]
    if not test then return "failed", answer.files[1].error or result.out end
    return test.status, test.message
  end
  local function passes(...)
    local status, message = story(...)
    assert.equal("passed", status, message)
  end

  it("reaches who cares for the thing, once, and the stories say so", function()
    passes(rule(), [[
      look "ada"
      look "ada"
      look("ben", "K1", "product.favourited")
      look("cem", "K2")
      drop("d1")
      host:advance "1m"
      assert.sent(host, 2)
      assert.sent(host, { to = "ada", times = 1 })
      assert.sent(host, { to = "ben", text_has = "9", times = 1 })
      drop("d1")
      host:advance "1m"
      assert.sent(host, 2)
      assert.why(host, { to = "ada", campaign = "drop", decision = "send" })
      local ada, thing = host:story "ada", host:story "K1"
      assert.truthy(ada:find("event price.dropped of K1 reaches ada", 1, true), ada)
      assert.truthy(thing:find("rule drop: begins a fan-out over interest:watchers, K1", 1, true), thing)
      assert.falsy(host:story "cem":find("reaches", 1, true))]])
  end)

  it("tells in the story of him of whom its `when` says no that it reached him", function()
    passes(rule 'when = function(_, user) return user.first_name ~= "Ada" end,', [[
      host:profile { user = "ada", first_name = "Ada" }
      look "ada"
      look "ben"
      drop "d1"
      host:advance "1m"
      assert.sent(host, 1)
      assert.truthy(host:story "ada":find("reaches ada.-rule drop: its `when` said no"), host:story "ada")]])
  end)

  it("forgets who cared too long ago, and knows those who did so again", function()
    passes(rule(), [[
      look "ada"
      look "ben"
      host:advance "29d"
      look "ada"
      host:advance "2d"
      drop()
      host:advance "1m"
      assert.sent(host, 1)
      assert.sent(host, { to = "ada" })]])
  end)

  it("keeps its pace, and ends when its time is over", function()
    passes(rule 'pace = "1/m", expires_in = "150s",', [[
      look_all(5)
      drop()
      assert.equal(1, after "1s")
      assert.equal(2, after "60s")
      assert.equal(3, after "60s")
      assert.equal(3, after "10m")
      -- The next reaches them anew.
      drop()
      assert.equal(4, after "1s")]])
  end)

  it("waits while its campaign is paused, and goes on behind the last it reached", function()
    passes(rule 'pace = "1/m",', [[
      look_all(5)
      drop()
      assert.equal(2, after "61s")
      host:reload "later/drop"
      assert.equal(2, after "1h")
      host:reload "rules/drop"
      assert.equal(5, after "10m")
      for i = 1, 5 do assert.sent(host, { to = "w" .. i, times = 1 }) end]], rule 'pace = "1/m", mode = "paused",')
  end)

  it("ends while its campaign is paused, when its time is over", function()
    passes(rule 'pace = "1/m", expires_in = "1h",', [[
      look_all(5)
      drop()
      assert.equal(2, after "61s")
      host:reload "later/drop"
      assert.equal(2, after "2h")
      host:reload "rules/drop"
      assert.equal(2, after "2h")]], rule 'pace = "1/m", expires_in = "1h", mode = "paused",')
  end)

  it("waits for the hours of its campaign", function()
    passes(rule 'hours = "09:00-18:00 Europe/Berlin",', [[
      look_all(5)
      drop()
      assert.equal(0, after "12h59m")
      assert.equal(5, after "2m")]])
  end)

  it("leaves a dead letter for whom its rule fails, and reaches the others", function()
    passes(rule(), [[
      host:profile { user = "w2", first_name = "Bad" }
      look_all(3)
      drop()
      assert.equal(2, after "1m")
      assert.failed(host, { to = "w2", campaign = "drop" })]])
  end)

  it("reaches as many as there are, and each segment's own", function()
    passes(rule():gsub("for_each = [^\n]*", 'for_each = kairos.segment.members "vip",')
      :gsub("return kairos.rule {", "return { kairos.segment { name = \"vip\", "
        .. " member = function(user) return user.plan == \"gold\" end },\n"
        .. "kairos.rule {\n  name = \"drop\",") .. "}", [[
      for i = 1, 300 do host:profile { user = "w" .. i, plan = i % 2 == 0 and "gold" or "free" } end
      drop()
      assert.equal(150, after "1m")
      host:profile { user = "w2", plan = "free" }
      drop()
      assert.equal(299, after "1m")]])
  end)
end)
