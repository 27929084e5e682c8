-- rules/replenishment: a word before coffee, filters and the like run out, by the customer's own habits.
local sim = require "kairos.spec"

describe("replenishment", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/replenishment", mode = "live", at = "2026-03-02 15:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end)

  local names = { ["coffee-250g"] = "House Blend", ["filters-100"] = "Paper Filters", mug = "Mug" }
  local function order(...)
    local items = {}
    for _, sku in ipairs { ... } do
      items[#items + 1] = { sku = sku, name = names[sku], quantity = 1 }
    end
    host:event { type = "order.completed", user = "ada", payload = { items = items } }
  end

  it("reminds four days before the bag is empty, in the morning", function()
    order "coffee-250g" -- lasts 14 days
    host:at "2026-03-13 08:59 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-03-13 09:00 Europe/Berlin"
    assert.sent(host, { to = "ada", template = "running_out", subject = "Running low on House Blend?",
      text_has = "House Blend", at = "2026-03-13 09:00 Europe/Berlin" })
    host:advance "365d"
    assert.sent(host, 1)
  end)

  it("reckons with two bags for twice the time, through the switch to summer time", function()
    host:event { type = "order.completed", user = "ada",
      payload = { items = { { sku = "coffee-250g", name = "House Blend", quantity = 2 } } } }
    host:at "2026-03-27 08:59 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-03-31 00:00 Europe/Berlin"
    assert.sent(host, { at = "2026-03-27 09:00 Europe/Berlin" })
  end)

  it("learns how long it lasts this customer", function()
    order "coffee-250g"
    host:advance "10d"
    order "coffee-250g" -- after 10 days: the next is reckoned with 12
    host:at "2026-03-21 08:59 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-03-21 09:00 Europe/Berlin"
    assert.sent(host, 1)
    host:advance "20d"
    order "coffee-250g" -- a month's pause is no habit: no more than twice as long is believed
    host:advance "30d"
    assert.sent(host, 2)
  end)

  it("starts anew with an order in time", function()
    order "coffee-250g"
    host:at "2026-03-13 08:00 Europe/Berlin"
    order "coffee-250g"
    host:at "2026-03-20 00:00 Europe/Berlin"
    assert.not_sent(host)
  end)

  it("puts what runs out in one week into one message", function()
    order "filters-100" -- last 60 days
    host:at "2026-04-18 12:00 Europe/Berlin"
    order "coffee-250g"
    host:at "2026-06-01 12:00 Europe/Berlin"
    assert.sent(host, 1)
    assert.sent(host, { subject = "A few things are nearly gone", text_has = "Paper Filters", html_has = "House Blend",
      at = "2026-04-28 09:00 Europe/Berlin" })
  end)

  it("comes back to what runs out later", function()
    order("coffee-250g", "filters-100")
    host:at "2026-06-01 12:00 Europe/Berlin"
    assert.sent(host, 2)
    assert.sent(host, { subject = "Running low on House Blend?", at = "2026-03-13 09:00 Europe/Berlin" })
    assert.sent(host, { subject = "Running low on Paper Filters?", at = "2026-04-28 09:00 Europe/Berlin" })
  end)

  it("has nothing to say about what does not run out", function()
    order "mug"
    host:event { type = "order.completed", user = "ada", payload = { total = 20 } }
    host:advance "365d"
    assert.not_sent(host)
    assert.why(host, { to = "ada", decision = "none", because = "`when` said no" })
  end)

  it("calls what comes without a name by its number", function()
    host:event { type = "order.completed", user = "ada", payload = { items = { { sku = "descaler" } } } }
    host:advance "120d"
    assert.sent(host, { to = "ada", subject = "Running low on descaler?", times = 1 })
  end)
end)
