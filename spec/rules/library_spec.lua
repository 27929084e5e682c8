-- The library's campaigns at once, as a customer meets them: they keep out of each other's way.
local sim = require "kairos.spec"

-- By name: a campaign that somebody writes beside them has a story of its own.
local library = {}
for name in ([[back_in_stock birthday browse_abandoned cart_abandoned category_abandoned geofence_offer high_interest lead_nurturing
  low_stock_nudge next_best_offer post_purchase price_drop regulars replenishment search_abandoned service_outage third_order
  welcome win_back]]):gmatch "%S+" do library[#library + 1] = "rules/" .. name end

describe("the library", function()
  local host
  local function start(config)
    host = sim.host { rules = library, mode = "live", at = "2026-06-01 09:00 Europe/Berlin", config = config } -- a Monday
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end
  before_each(function() start() end)

  local function event(name, payload)
    host:event { type = name, user = "ada", payload = payload }
  end
  local items = { { sku = "coffee-250g", name = "House Blend", quantity = 1 } }
  local function look(sku)
    event("product.viewed", { sku = sku, name = "Grinder " .. sku, category = "grinders", price = 84.5, currency = "EUR" })
  end

  it("does not write about what a customer has left behind on the way to an order", function()
    event("search.performed", { query = "grinder", results = 2 })
    host:advance "20m"
    for _ = 1, 3 do event("category.viewed", { category = "grinders" }) end
    host:advance "20m"
    look "G1"
    host:advance "30m"
    look "G1"
    host:advance "30m"
    event("cart.updated", { cart_id = "c1", total = 84.5, currency = "EUR", items = items })
    host:advance "30m"
    event("order.completed", { order_id = "o1", cart_id = "c1", items = items })
    host:advance "6d"
    assert.not_sent(host)
  end)

  it("writes about the last step of somebody who stops on the way, and about no other", function()
    event("search.performed", { query = "grinder", results = 2 })
    host:advance "20m"
    look "G1"
    host:advance "20m"
    look "G1"
    host:advance "5d"
    assert.sent(host, { campaign = "browse_abandoned", times = 1 })
    assert.sent(host, 1)
  end)

  --- Half a year of somebody who registers, looks around, orders now and then, and falls silent.
  local function half_a_year()
    event "user.registered"
    for week = 1, 8 do
      event("search.performed", { query = "grinder", results = week % 3 })
      host:advance "1d"
      for _ = 1, 3 do look("G" .. week) end
      host:advance "1d"
      event("cart.updated", { cart_id = "c" .. week, total = 20, currency = "EUR", items = items })
      host:advance "1d"
      if week % 2 == 0 then
        event("order.completed", { order_id = "o" .. week, cart_id = "c" .. week, items = items })
        host:advance "1d"
        event("order.delivered", { order_id = "o" .. week })
      else
        host:advance "1d"
      end
      host:advance "3d"
    end
    host:advance "130d"
  end

  it("asks for nothing twice, and every mail is whole", function()
    half_a_year()
    local seen, campaigns = {}, {}
    for _, message in ipairs(host:sent()) do
      assert.is_nil(seen[message.message_id])
      seen[message.message_id] = true
      campaigns[message.campaign] = true
      assert.falsy((message.subject .. message.text .. message.html):find("{{", 1, true))
      assert.falsy(message.text:find "nil" or message.subject:find "^%s*$")
      if message.channel == "email" then
        assert.is_true(#message.subject <= 100 and #message.text > 100, message.subject)
        assert.truthy(message.html:find('mso-hide:all">', 1, true), message.template) -- the preheader
        assert.truthy(message.headers.from)
        if message.purpose == "marketing" then
          assert.truthy(message.html:find("https://shop.example/preferences", 1, true), message.template)
        end
      end
    end
    for _, name in ipairs { "welcome", "search_abandoned", "high_interest", "cart_abandoned", "post_purchase", "replenishment",
      "win_back", "next_best_offer" } do
      assert.truthy(campaigns[name], name)
    end
  end)

  it("minds no event that lacks what it should have, or has it otherwise", function()
    local broken = {
      {},
      { sku = true, category = 3, query = {}, results = "many", cart_id = {}, total = "much", items = "none", order_id = {},
        service = false, incident = {}, company = 7, people = "all", stock = "few", price = "low", was = {}, lat = "x",
        campaign = 1, birthday = {}, time_zone = 9, currency = "EURO", since = "noon", title = {}, name = 5 },
      { items = { {}, 3, "x" }, total = 1, cart_id = "c", order_id = "o" },
      { sku = "K1", service = "app", name = "Kettle", price = 5, was = 9, total = 5, currency = {}, stock = 0, since = -1,
        expected = 1e300, items = { { sku = "coffee-250g", quantity = -1 } }, cart_id = "d", order_id = "p" },
    }
    for _, payload in ipairs(broken) do
      for _, name in ipairs { "identify", "search.performed", "category.viewed", "product.viewed", "product.favourited",
        "cart.updated", "order.completed", "order.delivered", "review.submitted", "stock.requested", "service.used", "guide.opened",
        "pricing.viewed", "lead.created", "location.updated", "message.clicked" } do
        event(name, payload)
        event(name, payload)
        event(name, payload)
      end
      for _, name in ipairs { "price.dropped", "stock.back", "service.outage", "service.restored" } do
        host:event { type = name, subject = "it", payload = payload }
      end
      host:advance "30d"
    end
    assert.same({}, host:dead())
  end)

  it("keeps to a cap over all of it, whoever asks first", function()
    start { purposes = { { name = "marketing", consent = "opt_out", caps = { "3/7d" } } } }
    half_a_year()
    local times = {}
    for _, message in ipairs(host:sent { purpose = "marketing" }) do
      times[#times + 1] = message.at
      assert.is_true(#times <= 3 or message.at - times[#times - 3] >= 7 * 86400000)
    end
    assert.is_true(#times > 10)
    assert.held_back(host, { to = "ada", by = "cap" })
  end)

  it("is silent from the moment of an unsubscribe, in whatever it was", function()
    event "user.registered"
    look "G1"
    look "G1"
    event("order.completed", { order_id = "o1", items = items })
    event("cart.updated", { cart_id = "c1", total = 20, currency = "EUR", items = items })
    host:advance "30m"
    local before = #host:sent()
    event("message.unsubscribed", { channel = "email" })
    half_a_year()
    assert.sent(host, before)
  end)

  it("sends nothing to anybody while marketing is capped at none, and what was asked for all the same", function()
    start { purposes = { { name = "marketing", consent = "opt_out", caps = { "0/1d" } } } }
    half_a_year()
    assert.not_sent(host)
    event("stock.requested", { sku = "K1" })
    host:event { type = "stock.back", subject = "K1", payload = { sku = "K1", name = "Kettle" } }
    host:advance "1m"
    assert.sent(host, { campaign = "back_in_stock", times = 1 })
    assert.sent(host, 1)
  end)
end)
