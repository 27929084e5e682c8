-- rules/post_purchase: what to do with what has arrived, and later what it was like.
local sim = require "kairos.spec"

describe("post_purchase", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/post_purchase", mode = "live", at = "2026-06-01 12:00 Europe/Berlin" } -- a Monday
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end)

  local items = { { sku = "BN-03", name = "Yirgacheffe", quantity = 1 } }
  local function event(name, id, payload)
    payload = payload or {}
    payload.order_id = id
    host:event { type = name, user = "ada", payload = payload }
  end
  local function order(id) event("order.completed", id, { items = items }) end

  it("tells how to brew on the morning after the parcel came, and asks for a review on a weekend", function()
    order "o1"
    host:advance "2d"
    event("order.delivered", "o1")
    host:at "2026-06-04 08:59 Europe/Berlin"
    assert.not_sent(host)
    host:advance "60d"
    assert.sent(host, 2)
    assert.sent(host, { template = "first_brew", at = "2026-06-04 09:00 Europe/Berlin" })
    assert.sent(host, { template = "review", at = "2026-06-14 10:00 Europe/Berlin", subject = "How is the Yirgacheffe?",
      html_has = "/review/o1/BN-03" })
  end)

  it("tells it with the first order only", function()
    order "o1"
    event("order.delivered", "o1")
    host:advance "60d"
    order "o2"
    event("order.delivered", "o2")
    host:advance "60d"
    assert.sent(host, { template = "first_brew", times = 1 })
    assert.sent(host, { template = "review", times = 2 })
    assert.not_held_back(host)
  end)

  it("asks nothing about what never came", function()
    order "o1"
    event("order.delivered", "another")
    host:advance "60d"
    assert.not_sent(host)
  end)

  it("asks nothing about what was sent back or cancelled, or has its review", function()
    for i, name in ipairs { "order.returned", "order.cancelled", "review.submitted" } do
      order("o" .. i)
      event("order.delivered", "o" .. i)
      host:advance "5d"
      event(name, "o" .. i)
      host:advance "40d"
    end
    assert.not_sent(host, { template = "review" })
  end)

  it("keeps orders apart: one is sent back, the other is asked about", function()
    order "o1"
    order "o2"
    event("order.delivered", "o1")
    event("order.delivered", "o2")
    event("order.returned", "o1")
    host:advance "40d"
    assert.sent(host, { template = "review", html_has = "/review/o2/", times = 1 })
  end)

  it("asks for one review a month", function()
    for i = 1, 3 do
      order("o" .. i)
      event("order.delivered", "o" .. i)
      host:advance "1d"
    end
    host:advance "30d"
    assert.sent(host, { template = "review", times = 1 })
    assert.held_back(host, { to = "ada", template = "review", by = "cap", times = 2 })
  end)

  it("reminds those with the app once more, five days later", function()
    host:profile { user = "ada", push_token = "token-1" }
    order "o1"
    event("order.delivered", "o1")
    host:at "2026-06-18 17:59 Europe/Berlin"
    assert.not_sent(host, { channel = "push" })
    host:at "2026-06-18 18:00 Europe/Berlin"
    assert.sent(host, { template = "review_push", at = "2026-06-18 18:00 Europe/Berlin" })
  end)

  it("says nothing about a parcel whose news was a week late", function()
    order "o1"
    host:advance "8d"
    host:event { type = "order.delivered", user = "ada", payload = { order_id = "o1" }, at = "2026-06-02 12:00 Europe/Berlin" }
    host:advance "2d"
    assert.not_sent(host, { template = "first_brew" })
  end)

  it("asks for no review where the shop does not say of what", function()
    for i, list in ipairs { { 3 }, { { sku = "BN-03" } }, {} } do
      event("order.completed", "o" .. i, { items = list })
      event("order.delivered", "o" .. i)
    end
    host:advance "60d"
    assert.not_sent(host, { template = "review" })
  end)
end)
