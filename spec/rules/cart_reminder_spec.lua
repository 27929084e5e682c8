-- rules/cart_reminder: an hour after the last change of a cart, unless it was bought or emptied.
local sim = require "kairos.spec"

describe("cart_reminder", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/cart_reminder" }
    host:profile { user = "ada", email = "ada@mail.example", first_name = "Ada" }
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
      times = 1 })
  end)
end)
