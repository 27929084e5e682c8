-- kairos.window: what happened lately, by event time.
local Host = require "spec.functional.support.host"

local MINUTE = 60 * 1000

-- One rule that says what each kind of window answers.
local asking = [[
local kairos = require "kairos"
local bought  = kairos.window { of = "order.completed", over = "10m" }
local by_shop = kairos.window { of = "order.completed", over = "10m", by = "payload.shop.name" }
local spent   = kairos.window { of = "order.completed", over = "10m", sum = "payload.amount" }
local latest  = kairos.window { of = "order.completed", over = "10m", last = "payload.sku" }
local oldest  = kairos.window { of = "order.completed", over = "10m", first = "payload.sku" }
local kinds   = kairos.window { of = "order.completed", over = "10m", distinct = "payload.sku" }
return kairos.rule {
  name = "asking",
  on = "asked",
  act = function(event, user)
    local shop = event.payload.shop
    user:send { channel = "push", template = "said", data = { text = table.concat({
      event.payload.step, user:count(bought), shop and user:count(by_shop, shop) or "-", user:sum(spent),
      tostring(user:last(latest)), tostring(user:first(oldest)), user:distinct(kinds),
    }, " ") } }
  end,
}
]]

describe("a window", function()
  local host, now
  setup(function() host = Host.start { rules = { asking = asking }, config = { ingest = { max_past = "20d" } } } end)
  teardown(function() host:remove() end)
  before_each(function() now = Host.now() - 60 * MINUTE end)

  local function buys(user, at, payload)
    payload.shop = payload.shop or { name = "north" }
    return { type = "order.completed", user = user, at = at, payload = payload }
  end
  local function asks(user, at, step, shop)
    return { type = "asked", user = user, at = at, payload = { step = step or "?", shop = shop } }
  end
  --- What the rule said to a user who asked `count` times.
  local function said(user, count)
    local found = host:said(user, count or 1)
    return count and found or found[1]
  end

  it("is empty at first", function()
    host:accept(asks("nobody", now))
    assert.equal("? 0 - 0 nil nil 0", said "nobody")
  end)

  it("counts, adds up, and knows the last, the first and how many different", function()
    host:accept(
      buys("ada", now - 3 * MINUTE, { amount = 10.5, sku = "A" }),
      buys("ada", now - 2 * MINUTE, { amount = 20.25, sku = "B" }),
      buys("ada", now - 1 * MINUTE, { amount = -5, sku = "A" }),
      asks("ada", now))
    assert.equal("? 3 - 25.75 A A 2", said "ada")
  end)

  it("counts by key", function()
    host:accept(
      buys("kay", now - 3 * MINUTE, { amount = 1, sku = "A", shop = { name = "north" } }),
      buys("kay", now - 2 * MINUTE, { amount = 1, sku = "A", shop = { name = "south" } }),
      buys("kay", now - 1 * MINUTE, { amount = 1, sku = "A", shop = { name = "north" } }),
      asks("kay", now, "1", "north"), asks("kay", now, "2", "south"), asks("kay", now, "3", "west"))
    assert.same({ "1 3 2 3 A A 1", "2 3 1 3 A A 1", "3 3 0 3 A A 1" }, said("kay", 3))
  end)

  it("takes the number 12 and the text 12 for one key", function()
    host:accept(
      buys("num", now - 2 * MINUTE, { amount = 1, sku = 12, shop = { name = 12 } }),
      buys("num", now - 1 * MINUTE, { amount = 1, sku = 12, shop = { name = "12" } }),
      asks("num", now, "1", "12"))
    assert.truthy(said("num"):find("1 2 2 2 ", 1, true))
  end)

  it("keeps apart ids that are numbers of 19 digits, and tells them whole", function()
    local list = {}
    for index, fields in ipairs {
      buys("otto", now - 3, { amount = 1, sku = "LOW", shop = { name = "LOW" } }),
      buys("otto", now - 2, { amount = 1, sku = "HIGH", shop = { name = "HIGH" } }),
      buys("otto", now - 1, { amount = 1, sku = "LOW", shop = { name = "LOW" } }),
      asks("otto", now, "low", "LOW"), asks("otto", now, "high", "HIGH"),
    } do list[index] = Host.event(fields) end
    local body = Host.json(list):gsub('"LOW"', "1234567890123456788"):gsub('"HIGH"', "1234567890123456789")
    assert.equal(5, host:post(body).json.accepted)
    assert.same({ "high 3 1 3 1234567890123456788 1234567890123456788 2", "low 3 2 3 1234567890123456788 1234567890123456788 2" },
      said("otto", 2))
  end)

  it("is (now - L, now]: what is exactly L old has left, what is a ms younger has not", function()
    host:accept(
      buys("edge", now - 10 * MINUTE, { amount = 1, sku = "left" }),
      buys("edge", now - 10 * MINUTE + 1, { amount = 2, sku = "in" }),
      asks("edge", now, "at"))
    assert.equal("at 1 - 2 in in 1", said "edge")
  end)

  it("holds what happens in the very ms of the question, and nothing later", function()
    host:accept(
      buys("now", now, { amount = 1, sku = "A" }),
      buys("now", now + 1, { amount = 2, sku = "B" }),
      asks("now", now, "at"))
    assert.equal("at 1 - 1 A A 1", said "now")
  end)

  it("counts a late event where it belongs", function()
    host:accept(
      buys("late", now - 1 * MINUTE, { amount = 1, sku = "new" }),
      buys("late", now - 9 * MINUTE, { amount = 2, sku = "old" }),
      asks("late", now, "1"),
      -- Two minutes later the late one has left, the other has not.
      asks("late", now + 2 * MINUTE, "2"))
    assert.same({ "1 2 - 3 new old 2", "2 1 - 1 new new 1" }, said("late", 2))
  end)

  it("leaves out what came later than it reaches back", function()
    host:accept(
      buys("past", now, { amount = 1, sku = "A" }),
      buys("past", now - 11 * MINUTE, { amount = 2, sku = "B" }),
      asks("past", now, "1"))
    assert.equal("1 1 - 1 A A 1", said "past")
  end)

  it("judges a late question as of its own time", function()
    host:accept(
      buys("back", now - 5 * MINUTE, { amount = 1, sku = "A" }),
      buys("back", now, { amount = 2, sku = "B" }),
      asks("back", now - 4 * MINUTE, "then"))
    assert.equal("then 1 - 1 A A 1", said "back")
  end)

  it("adds up decimals without drift", function()
    local list = {}
    for index = 1, 60 do list[index] = buys("cents", now - index, { amount = 0.1, sku = "A" }) end
    list[61] = asks("cents", now, "1")
    host:accept(unpack(list))
    assert.equal("1 60 - 6 A A 1", said "cents")
  end)

  it("passes over payloads that lack the value, and counts them all the same", function()
    host:accept(
      buys("lack", now - 2, { sku = "A" }), buys("lack", now - 1, { amount = "three" }),
      asks("lack", now, "1"))
    assert.equal("1 2 - 0 A A 1", said "lack")
  end)

  it("is exact up to 64 entries", function()
    local list = {}
    for index = 1, 64 do list[index] = buys("full", now - 10 * MINUTE + index, { amount = 1, sku = "s" .. index }) end
    list[65] = asks("full", now, "1")
    -- 32 of them have left 32 ms later, exactly.
    list[66] = asks("full", now + 32, "2")
    host:accept(unpack(list))
    assert.same({ "1 64 - 64 s64 s1 64", "2 32 - 32 s64 s33 32" }, said("full", 2))
  end)

  it("errs by at most one bucket of sixty past 64 entries", function()
    local list = {}
    -- One a second over the whole ten minutes.
    for index = 0, 599 do list[#list + 1] = buys("many", now - index * 1000, { amount = 2, sku = "s" .. index }) end
    list[#list + 1] = asks("many", now, "1")
    host:accept(unpack(list))
    local count, sum, distinct = said("many"):match "^1 (%d+) %- (%d+) %S+ %S+ ([%d.]+)$"
    assert.is_true(math.abs(tonumber(count) - 600) <= 10, count)
    assert.is_true(math.abs(tonumber(sum) - 1200) <= 20, sum)
    -- HyperLogLog of 256 registers: standard error 6.5 %; three of them.
    assert.is_true(math.abs(tonumber(distinct) - 600) <= 600 * 0.2, distinct)
  end)

  it("keeps 128 keys, the least recent out", function()
    local list = {}
    for index = 1, 140 do
      list[index] = buys("keys", now - 1000 + index, { amount = 1, sku = "A", shop = { name = "shop-" .. index } })
    end
    list[#list + 1] = asks("keys", now, "1", "shop-1")
    list[#list + 1] = asks("keys", now, "2", "shop-140")
    host:accept(unpack(list))
    local answers = said("keys", 2)
    assert.truthy(answers[1]:find "^1 %d+ 0 ")
    assert.truthy(answers[2]:find "^2 %d+ 1 ")
  end)

  it("survives a restart and a power cut", function()
    local when = Host.now() - 1000
    host:accept(buys("keep", when, { amount = 1.5, sku = "A" }))
    host:restart()
    host:accept(buys("keep", when + 1, { amount = 2, sku = "B" }))
    host:kill()
    host:run()
    host:accept(asks("keep", when + 2, "1"))
    assert.equal("1 2 - 3.5 B A 2", said "keep")
  end)
end)
