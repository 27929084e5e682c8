-- rules/browse_abandoned: a word about the product that somebody came back to, and left.
local sim = require "kairos.spec"

describe("browse_abandoned", function()
  local host
  local function start(rules)
    host = sim.host { rules = rules or "rules/browse_abandoned", mode = "live", at = "2026-06-01 14:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end
  before_each(function() start() end)

  local function look(sku)
    host:event { type = "product.viewed", user = "ada", payload = { sku = sku, name = "Grinder " .. sku, price = 84.5,
      currency = "EUR" } }
  end
  local function event(name) host:event { type = name, user = "ada" } end

  it("writes two hours after the second look", function()
    look "G1"
    host:advance "1d"
    look "G1"
    host:advance "119m"
    assert.not_sent(host)
    host:advance "1m"
    assert.sent(host, { to = "ada", template = "had_a_look", subject = "Grinder G1: what is good to know",
      text_has = "It is 84,50\194\160€", times = 1 })
  end)

  it("writes about what was looked at last", function()
    for _, sku in ipairs { "G1", "G1", "G2", "G2" } do
      look(sku)
      host:advance "10m"
    end
    host:advance "1d"
    assert.sent(host, { data = { sku = "G2" }, times = 1 })
    assert.sent(host, 1)
  end)

  it("says nothing of what was seen once", function()
    look "G1"
    look "G2"
    host:advance "1d"
    assert.not_sent(host)
    assert.why(host, { to = "ada", decision = "none", because = "`when` said no" })
  end)

  it("leaves it to the cart, once there is one, and to the shop, once there is an order", function()
    for _, ended in ipairs { "cart.updated", "order.completed" } do
      start()
      look "G1"
      look "G1"
      host:advance "1h"
      event(ended)
      host:advance "1d"
      assert.not_sent(host)
    end
  end)

  it("leaves those alone who have ordered in these days", function()
    event "order.completed"
    host:advance "2d"
    look "G1"
    look "G1"
    host:advance "1d"
    assert.not_sent(host)
  end)

  it("keeps out of the way of high_interest, which answers at once", function()
    start { "rules/browse_abandoned", "rules/high_interest" }
    for _ = 1, 3 do
      look "G1"
      host:advance "1m"
    end
    host:advance "1d"
    assert.sent(host, { campaign = "high_interest", times = 1 })
    assert.sent(host, 1)
  end)

  it("writes once a week", function()
    for _ = 1, 6 do
      look "G1"
      look "G1"
      host:advance "1d"
    end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "had_a_look", by = "cap", times = 5 })
  end)

  it("reaches whom it has no address of by the app", function()
    host:profile { user = "bob", push_token = "token-1" }
    for _ = 1, 2 do host:event { type = "product.viewed", user = "bob", payload = { sku = "G1", name = "Grinder" } } end
    host:advance "2h"
    assert.sent(host, { to = "bob", channel = "push", text_has = "Grinder: 30 days", times = 1 })
  end)

  it("says nothing of what has no name", function()
    for _ = 1, 2 do host:event { type = "product.viewed", user = "ada", payload = { sku = "G1" } } end
    host:advance "1d"
    assert.not_sent(host)
  end)
end)
