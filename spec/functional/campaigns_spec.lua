-- The campaigns in rules/: they pass the check, and do what their first lines say.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local MINUTE, HOUR, DAY = 60 * 1000, 3600 * 1000, 86400 * 1000
local START = 1700000000000

describe("the shipped campaigns", function()
  --- Play [{type, user, at (after START), payload}], then list "at user template decision reason" of one campaign.
  local function play(campaign, until_, events)
    local path = os.tmpname()
    local list = {}
    for index, event in ipairs(events) do
      event.at = START + event.at
      list[index] = Host.event(event)
    end
    files.write(path, Host.ndjson(list))
    local result = process.run { command = {
      Host.binary, "simulate", "--rules", "rules", "--events", path, "--until", ("%.0f"):format(START + until_),
    } }
    os.remove(path)
    assert.equal(0, result.status, result.err)
    local found = {}
    for line in result.out:gmatch "[^\n]+" do
      local d = cjson.decode(line)
      if d.campaign == campaign then
        found[#found + 1] = ("%d %s %s %s%s"):format(d.at - START, d.user_id, d.template, d.decision,
          d.reason ~= "" and " " .. d.reason or "")
      end
    end
    return found
  end

  it("pass the check", function()
    local result = process.run { command = { Host.binary, "check" } }
    assert.equal(0, result.status, result.out .. result.err)
  end)

  it("welcome: once, however often the shop reports it", function()
    assert.same({ "0 ada hello send", "7 bob hello send" }, play("welcome", DAY, {
      { type = "user.registered", user = "ada", at = 0 }, { type = "user.registered", user = "ada", at = 5 },
      { type = "user.registered", user = "bob", at = 7 },
    }))
  end)

  it("high_interest: the third look at one product within ten minutes, unless it was bought", function()
    local function look(user, sku, at)
      return { type = "product.viewed", user = user, at = at, payload = { sku = sku, name = sku } }
    end
    local sent, skipped = 2 * MINUTE .. " ada still_interested send", 9 * MINUTE .. " ada still_interested skip once_per"
    assert.same({ sent, skipped }, play("high_interest", HOUR, {
      look("ada", "A", 0), look("ada", "A", MINUTE), look("ada", "B", MINUTE), look("ada", "A", 2 * MINUTE),
      look("ada", "A", 9 * MINUTE),
      look("bob", "A", 0), look("bob", "A", MINUTE), { type = "order.completed", user = "bob", at = MINUTE + 1 },
      look("bob", "A", 2 * MINUTE),
      look("cid", "A", 0), look("cid", "A", MINUTE), look("cid", "A", 10 * MINUTE),
    }))
  end)

  it("cart_abandoned: an hour after the last change, unless it was bought or emptied", function()
    local function cart(user, at, total)
      return { type = "cart.updated", user = user, at = at, payload = { cart_id = user .. "'s", total = total, items = {} } }
    end
    -- 23:43 is night: the reminder waits for eight o'clock.
    local morning = 1700035200000 -- 2023-11-15 08:00 UTC
    assert.same({ ("%d ada reminder send"):format(morning - START) }, play("cart_abandoned", DAY, {
      cart("ada", 0, 20), cart("ada", 30 * MINUTE, 25),
      cart("bob", 0, 20), { type = "order.completed", user = "bob", at = 59 * MINUTE },
      cart("cid", 0, 20), cart("cid", 10 * MINUTE, 0),
    }))
  end)

  it("third_order: the third within 90 days, once in a life", function()
    local function order(user, day) return { type = "order.completed", user = user, at = day * DAY } end
    local sent = {}
    for _, line in ipairs(play("third_order", 199 * DAY, {
      order("ada", 0), order("ada", 40), order("ada", 89), order("ada", 95), order("ada", 180), order("ada", 181),
      order("bob", 0), order("bob", 40), order("bob", 90),
    })) do
      if line:find "thank_you send" then sent[#sent + 1] = line end
    end
    assert.same({ 89 * DAY .. " ada thank_you send" }, sent)
  end)

  it("win_back: 60 days after an order if no other followed; one on the 60th day did", function()
    local function order(user, day) return { type = "order.completed", user = user, at = day * DAY } end
    -- Somebody else's order at the same moment changes nothing.
    assert.same({ 60 * DAY .. " bob miss_you send", 120 * DAY .. " ada miss_you send", 120 * DAY .. " dan miss_you send",
      121 * DAY .. " bob miss_you send" },
      play("win_back", 121 * DAY, { order("dan", 60), order("ada", 0), order("ada", 60), order("bob", 0), order("bob", 61),
        order("cid", 62) }))
  end)

  it("birthday: not for a date that was taken back", function()
    local function profile(user, day, birthday)
      return { type = "identify", user = user, at = day * DAY, payload = { birthday = birthday } }
    end
    local morning = 1700470800000 -- 2023-11-20 09:00 UTC
    assert.same({ ("%d bob present send"):format(morning - START) }, play("birthday", 30 * DAY, {
      profile("ada", 0, "1990-11-20"), profile("ada", 1, cjson.null), profile("bob", 0, "1990-11-20"),
    }))
  end)

  it("have words for each message: subject and body, with and without a name", function()
    local host = Host.new { config = { timers = { overdue_grace = "100ms" } } }
    finally(function() host:remove() end)
    for _, campaign in ipairs { "shared", "welcome", "high_interest", "third_order", "win_back", "replenishment",
      "low_stock_nudge" } do
      process.shell(("cp -r rules/%s %s/"):format(campaign, host.rules))
    end
    process.shell(("sed -i 's/\"60d\"/\"20d\"/' %s/win_back/rule.lua"):format(host.rules))
    host:run()
    local now = Host.now()
    for _, user in ipairs { "ada", "anonymous" } do
      if user == "ada" then
        host:accept { type = "identify", user = user, at = now - 25 * DAY,
          payload = { first_name = "Ada", email = "ada@shop.example" } }
      end
      local function view(at)
        return { type = "product.viewed", user = user, at = at, payload = { sku = "A", name = "Kettle", price = 59 } }
      end
      local function order(days) return { type = "order.completed", user = user, at = now - days * DAY } end
      local beans = order(22)
      beans.payload = { items = { { sku = "coffee-250g", name = "House Blend", quantity = 1 } } }
      local function grinder(hours, stock)
        return { type = "product.viewed", user = user, at = now - hours * HOUR,
          payload = { sku = "G", name = "Grinder", price = 149.9, stock = stock } }
      end
      host:accept(order(24), order(23), beans, grinder(3, 40), grinder(2, 3),
        { type = "user.registered", user = user, at = now - DAY }, view(now - 3), view(now - 2), view(now - 1))
    end
    -- The others go by the clock on the wall, or by what happens to things: their specs are in spec/rules.
    local messages = host:await_messages(12, 20)
    assert.equal(12, #messages)
    for _, message in ipairs(messages) do
      assert.truthy(message.headers.subject ~= "")
      assert.truthy(message.headers.from:find("hello@shop.example", 1, true))
      assert.falsy(message.raw:find("{{", 1, true))
      assert.is_true(#message.body > 100)
    end
  end)

  it("reach each customer once through power cuts, though the shop then reports everything a second time", function()
    local host = Host.new { config = { state = { checkpoint_every = "300ms", write_behind = "50ms" } } }
    finally(function() host:remove() end)
    for _, campaign in ipairs { "shared", "welcome", "price_drop", "back_in_stock" } do
      process.shell(("cp -r rules/%s %s/"):format(campaign, host.rules))
    end
    process.shell(("sed -i 's,\"[25]00/s\",\"40/s\",' %s/*/rule.lua"):format(host.rules))
    host:run()
    local customers, events, now = 40, {}, Host.now()
    local function add(fields)
      fields.at, fields.id = now, "e" .. #events
      events[#events + 1] = Host.event(fields)
    end
    for index = 1, customers do
      local user = "c" .. index
      add { type = "identify", user = user, payload = { email = user .. "@shop.example" } }
      add { type = "user.registered", user = user }
      add { type = "product.viewed", user = user, payload = { sku = "K1" } }
      add { type = "stock.requested", user = user, payload = { sku = "K2" } }
    end
    add { type = "price.dropped", subject = "K1", payload = { sku = "K1", name = "Kettle", was = 59, price = 49 } }
    add { type = "stock.back", subject = "K2", payload = { sku = "K2", name = "Mill", stock = 90 } }
    local wanted = 3 * customers
    for _, enough in ipairs { 0, 15, 55, 90 } do -- the shop hears nothing, so it says it all again
      assert.equal(202, host:post(events).status)
      assert.is_true(#host:await_messages(enough, 30) >= enough)
      host:kill()
      host:run()
    end
    host:await_messages(wanted, 30)
    assert.is_true(process.eventually(30 * Host.patience, function()
      local done = 0
      for _, fan_out in ipairs(host:ask "fanouts") do done = done + (fan_out.state == "done" and fan_out.reached or 0) end
      return done == 2 * customers
    end))
    local got = {}
    for _, message in ipairs(host:messages()) do
      local what = message.user_id .. " " .. message.template
      got[what] = (got[what] or 0) + 1
    end
    for index = 1, customers do
      for _, template in ipairs { "hello", "lower_price", "here_again" } do
        assert.same({ [template] = 1 }, { [template] = got["c" .. index .. " " .. template] }, "c" .. index)
      end
    end
    assert.equal(wanted, #host:messages())
  end)
end)
