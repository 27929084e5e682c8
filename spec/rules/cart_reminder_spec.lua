-- rules/cart_reminder: an hour after the last change of a cart, unless it was bought or emptied.
local sim = require "kairos.spec"

describe("cart_reminder", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/cart_reminder", mode = "live", at = "2026-11-27 09:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function cart(total)
    host:event { type = "cart.updated", user = "ada",
      payload = { total = total, currency = "EUR", items = { { quantity = 2, name = "Cup" } } } }
  end

  it("reminds an hour after the last change, once", function()
    cart(20)
    host:advance "30m"
    cart(40)
    host:advance "59m"
    assert.sent(host, 0)
    host:advance "1m"
    assert.sent(host, { to = "ada", template = "reminder", subject = "Ada, your cart is waiting", text_has = "2 × Cup",
      at = "2026-11-27 10:30 Europe/Berlin" })
    host:advance "2d"
    assert.sent(host, 1)
  end)

  it("does not when it was bought meanwhile", function()
    cart(20)
    host:advance "59m"
    host:event { type = "order.completed", user = "ada" }
    host:advance "1d"
    assert.not_sent(host)
  end)

  it("does not when it was emptied", function()
    cart(20)
    host:advance "10m"
    cart(0)
    host:advance "1d"
    assert.not_sent(host)
  end)

  it("reminds of one cart a day", function()
    cart(20)
    host:advance "2h"
    cart(30)
    host:advance "2h"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "reminder", by = "once_per" })
  end)

  it("reminds once the provider is back, and not twice", function()
    host:provider { email = "timeout", times = 2 }
    cart(20)
    host:advance "2h"
    assert.sent(host, { to = "ada", template = "reminder", times = 1 })
  end)

  it("gives up when the provider stays away", function()
    host:provider { email = 500 }
    cart(20)
    host:advance "1d"
    assert.not_sent(host)
    assert.held_back(host, { to = "ada", template = "reminder", by = "exhausted", because = "500" })
  end)
end)
