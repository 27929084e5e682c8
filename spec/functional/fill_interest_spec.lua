-- New interests are filled from the event log before the campaign that asks for them serves: a fan-out reaches who showed
-- the interest before it was declared.
local fan_outs = require "spec.functional.support.fan_outs"
local fills = require "spec.functional.support.fills"
local Host = require "spec.functional.support.host"
local process = require "spec.functional.support.process"

local DAY = 86400000
local await_fan_out, is = fan_outs.await, fan_outs.is
local configured, post, rules_of = fills.configured, fills.post, fills.rules_of

--- A campaign that tells its watchers of a price. @param fields  of the interest, beside its name
local function price_drop(fields)
  return ([[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", %s }
return kairos.rule {
  name = "price_drop",
  on = "price.dropped",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = "now " .. event.payload.price } }
  end,
}
]]):format(fields or [[of = { "product.viewed", "product.favourited" }, by = "payload.sku", over = "2d"]])
end

local plain = [[
return require "kairos".rule { name = "plain", on = "asked", act = function(_, user)
  user:send { channel = "push", template = "said", data = { text = "plain" } }
end }
]]

local function save(host, text, name)
  fills.write(host, name or "price_drop", text)
end

--- What so many users looked at in the last days. @param expected  user -> true, added to: who stands under K1 for two days
--- @param any  likewise, under whatever key
local function views(from, count, expected, any)
  local list, now = {}, Host.now()
  for index = from, from + count - 1 do
    local user = "w" .. index
    local function look(type, sku, age)
      list[#list + 1] = { type = type, user = user, at = now - age, payload = { sku = sku } }
      if age > 2 * DAY or type == "cart.updated" then return end
      if sku == "K1" then expected[user] = true end
      if any then any[user] = true end
    end
    look("product.viewed", "K" .. index % 3, (index % 7) * DAY / 2 + 3600000)
    if index % 4 == 0 then look("product.favourited", "K1", DAY) end
    if index % 5 == 0 then look("cart.updated", "K1", 1000) end
    if index % 9 == 0 then look("product.viewed", "K1", 10 * DAY) end -- a later one before stays the later one
    if index % 6 == 0 then look("product.viewed", "K1", 3 * DAY) end
  end
  return list
end

--- The host may be starting meanwhile.
local function await_filled(host)
  local rules
  assert.is_true(process.eventually(30 * Host.patience, function()
    local asked, found = pcall(rules_of, host)
    rules = found
    return asked and rules.fill == nil
  end))
  return rules
end

--- The price drops: exactly the expected are told.
local function assert_told(host, expected, price)
  local id = "drop-" .. price
  host:accept { type = "price.dropped", subject = "K1", id = id, payload = { sku = "K1", price = price } }
  local count = 0
  for _ in pairs(expected) do count = count + 1 end
  local fan_out = await_fan_out(host, is "done", 30, id)
  local told = {}
  process.eventually(30 * Host.patience, function()
    local some = 0
    told = {}
    for _, message in ipairs(host:messages()) do
      if message.body == "now " .. price then
        assert.is_nil(told[message.user_id], "twice: " .. message.user_id)
        told[message.user_id] = true
        some = some + 1
      end
    end
    return some >= count
  end)
  assert.same(expected, told)
  assert.equal(count, fan_out.reached)
end

describe("a new interest", function()
  local host
  after_each(function() host:remove() end)

  it("knows yesterday's viewers when its campaign serves", function()
    host = Host.start { rules = { plain = plain }, config = configured() }
    local expected, any, users = {}, {}, 0
    post(host, views(1, 120, expected, any))
    for _ in pairs(any) do users = users + 1 end
    -- Entries that have ended are not written.
    host:accept { type = "product.viewed", user = "gone", at = Host.now() - 3 * DAY, payload = { sku = "K7" } }
    save(host, price_drop())
    local out = host:command("reload", "--dry-run").out
    assert.truthy(out:find(
      "interest added +watchers: product.viewed, product.favourited 2d by sku; it will be filled from the event log"), out)
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(3, answer.generation)
    assert.same({ "watchers: product.viewed, product.favourited 2d by sku" }, answer.declared.interests_added)
    assert.equal(users, answer.filled.users)
    assert.equal(0, answer.filled.short_from)
    assert_told(host, expected, 9)
    -- What comes from then on counts too, and a late event shortens nothing.
    host:accept({ type = "product.viewed", user = "new", payload = { sku = "K1" } },
      { type = "product.viewed", user = "w4", at = Host.now() - 2 * DAY + 60000, payload = { sku = "K1" } })
    expected.new = true
    assert_told(host, expected, 8)
    local campaign = host:command("campaigns", "price_drop").out
    assert.truthy(campaign:find("watchers: product.viewed", 1, true), campaign)
  end)

  it("is filled from sealed segments and the tail alike", function()
    host = Host.start { rules = { plain = plain },
      config = configured { log = { segment_size = "64KB", segment_age = "1s" } } }
    local expected = {}
    local from = 1
    assert.is_true(process.eventually(30 * Host.patience, function() -- a segment ends with what comes after its time
      post(host, views(from, 5, expected))
      from = from + 5
      return host:ask("status").sealed_segment > 1
    end))
    post(host, views(from, 60, expected))
    save(host, price_drop())
    assert.is_table(host:ask("reload").filled)
    assert_told(host, expected, 9)
  end)

  it("is kept beside the rules that serve meanwhile, whose campaign stays as it was", function()
    host = Host.start { rules = { price_drop = price_drop [[of = "product.viewed", by = "payload.sku", over = "20d"]] },
      config = configured(), hold = "fill.begin" }
    local wide, expected = {}, {}
    local events = views(1, 60, expected)
    for _, event in ipairs(events) do
      if event.type == "product.viewed" and event.payload.sku == "K1" then wide[event.user] = true end
    end
    post(host, events)
    save(host, price_drop())
    local answer = host:ask("reload", "--no-wait")
    assert.equal("filling", answer.result)
    assert.same({ "watchers: product.viewed, product.favourited 2d by sku" }, answer.fill.interests)
    assert.same({ "watchers: product.viewed 20d by sku" }, answer.declared.interests_removed)
    assert.equal("wait until what they declare is filled", rules_of(host).files)
    assert.truthy(host:command("generations").out:find("serving, filling", 1, true))
    host:accept { type = "product.viewed", user = "meanwhile", payload = { sku = "K1" } }
    wide.meanwhile, expected.meanwhile = true, true
    assert_told(host, wide, 7)
    assert.is_table(rules_of(host).fill)
    host:release()
    assert.equal("serve", await_filled(host).files)
    assert_told(host, expected, 6)
  end)

  it("with another `of`, `by` or `over` is another one, and knows nothing of the one before", function()
    host = Host.start { rules = { price_drop = price_drop() }, config = configured() }
    local now = Host.now()
    host:accept({ type = "product.viewed", user = "ada", at = now - 3600000, payload = { sku = "K1", brand = "B" } },
      { type = "product.viewed", user = "ben", at = now - DAY, payload = { sku = "K1", brand = "B" } },
      { type = "product.viewed", user = "cem", at = now - 5 * DAY, payload = { sku = "K1", brand = "K1" } },
      { type = "product.favourited", user = "dot", at = now - 1000, payload = { sku = "K1" } })
    for price, case in ipairs {
      { [[of = { "product.viewed", "product.favourited" }, by = "payload.sku", over = "3h"]], { ada = true, dot = true } },
      { [[of = "product.viewed", by = "payload.sku", over = "3h"]], { ada = true } },
      { [[of = "product.viewed", by = "payload.sku", over = "10d"]], { ada = true, ben = true, cem = true } },
      { [[of = "product.viewed", by = "payload.brand", over = "10d"]], { cem = true } },
      { [[of = { "product.viewed", "product.favourited" }, by = "payload.sku", over = "2d"]],
        { ada = true, ben = true, dot = true } },
    } do
      save(host, price_drop(case[1]))
      assert.is_table(host:ask("reload").filled)
      assert_told(host, case[2], price)
    end
    host:ask "rollback" -- its rules serve at once, and what they lack follows
    await_filled(host)
    assert_told(host, { cem = true }, 20)
  end)

  it("that went and comes back is filled with what came meanwhile", function()
    host = Host.start { rules = { plain = plain, price_drop = price_drop() }, config = configured() }
    local expected = {}
    post(host, views(1, 30, expected))
    save(host, (plain:gsub("plain", "price_drop")))
    host:ask "reload"
    post(host, views(31, 30, expected))
    save(host, price_drop())
    assert.is_table(host:ask("reload").filled)
    assert_told(host, expected, 9)
  end)

  it("that no event of the log is for serves at once", function()
    host = Host.start { rules = { plain = plain }, config = configured() }
    host:accept { type = "asked", user = "ada" }
    save(host, price_drop())
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(2, answer.generation)
    host:accept { type = "product.viewed", user = "ada", payload = { sku = "K1" } }
    await_filled(host)
    assert_told(host, { ada = true }, 9)
  end)

  it("says from when on it knows, where the log is not kept as long", function()
    host = Host.start { rules = { plain = plain }, config = configured { log = { keep = "20d" } } }
    post(host, views(1, 20, {}))
    save(host, price_drop [[of = "product.viewed", by = "payload.sku", over = "30d"]])
    local out = host:command("reload").out
    assert.truthy(out:find(
      "interest added +watchers: product.viewed 30d by sku; filled from %d%d%d%d%-%d%d%-%d%d on: the log keeps 20d"), out)
  end)

  it("takes all that one user looked at", function()
    host = Host.start { rules = { plain = plain }, config = configured() }
    local list = {}
    for index = 1, 3000 do
      list[index] = { type = "product.viewed", user = "ada", payload = { sku = ("a-rather-long-sku-%06d"):format(index) } }
    end
    list[#list + 1] = { type = "product.viewed", user = "ada", payload = { sku = "K1" } }
    list[#list + 1] = { type = "product.viewed", user = "ada", payload = { sku = ("x"):rep(300) } } -- no key
    post(host, list)
    save(host, price_drop())
    assert.equal(1, host:ask("reload").filled.users)
    for _, index in ipairs { 1, 1500, 3000 } do
      local id, sku = "long-" .. index, ("a-rather-long-sku-%06d"):format(index)
      host:accept { type = "price.dropped", subject = "K1", id = id, payload = { sku = sku, price = 1 } }
      assert.equal(1, await_fan_out(host, is "done", 20, id).reached, sku)
    end
    assert_told(host, { ada = true }, 9)
  end)

  it("goes on after kill -9, whenever it comes: each viewer is told once", function()
    host = Host.start { rules = { plain = plain }, config = configured() }
    local expected = {}
    post(host, views(1, 100, expected))
    save(host, price_drop())
    host:stop()
    for round, moment in ipairs {
      "generation.stored=kill", "generation.durable=kill", "fill.begin=kill", "fill.decide=kill", "fill.decide=kill@30",
      "log.write=kill@3", "log.durable=kill@4", "fill.note=kill", "fill.done=kill", "generation.durable=kill@1",
      "generation.swapped=kill",
    } do
      host:launch { KAIROS_FAILPOINTS = moment }
      process.eventually(3 * Host.patience, function()
        if not host.process:alive() then return true end
        local asked, rules = pcall(rules_of, host)
        return asked and rules.fill == nil
      end)
      host:kill()
      host:run { KAIROS_FAILPOINTS = "fill.begin=sleep:300" }
      post(host, views(100 + round * 10, 10, expected))
      host:kill()
    end
    host:run()
    await_filled(host)
    assert_told(host, expected, 9)
  end)

  it("waits while the disk is full", function()
    host = Host.start { rules = { plain = plain }, config = configured() }
    local expected = {}
    post(host, views(1, 60, expected))
    host:stop()
    save(host, price_drop())
    host:run { KAIROS_FAILPOINTS = "log.write=enospc@3*2" }
    await_filled(host)
    assert.is_true(host:metric "kairos_recoveries" > 0)
    assert_told(host, expected, 9)
  end)
end)
