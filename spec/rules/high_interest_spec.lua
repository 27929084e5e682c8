-- rules/high_interest: help for a shopper who looks at one product three times in ten minutes without buying.
local sim = require "kairos.spec"

describe("high_interest", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/high_interest", mode = "live" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function look(sku)
    host:event { type = "product.viewed", user = "ada", payload = { sku = sku, name = "Kettle " .. sku, price = 59 } }
  end

  it("offers help at the third look", function()
    look "K1"
    host:advance "4m"
    look "K1"
    host:advance "4m"
    assert.not_sent(host)
    look "K1"
    assert.sent(host, { to = "ada", template = "still_interested", subject = "Can we help you with the Kettle K1?",
      text_has = "It is 59,00\194\160€" })
  end)

  it("does not if the looks are further apart", function()
    look "K1"
    host:advance "5m"
    look "K1"
    host:advance "5m" -- the first look is ten minutes old, and no longer counted
    look "K1"
    assert.not_sent(host)
    assert.why(host, { to = "ada", decision = "none", because = "`when` said no" })
  end)

  it("counts each product for itself", function()
    look "K1"
    look "K2"
    look "K1"
    look "K2"
    assert.not_sent(host)
    look "K2"
    assert.sent(host, { to = "ada", data = { sku = "K2" }, times = 1 })
  end)

  it("leaves those alone who have just bought", function()
    look "K1"
    look "K1"
    host:event { type = "order.completed", user = "ada" }
    look "K1"
    assert.not_sent(host)
  end)

  it("offers it once a week", function()
    for _ = 1, 4 do look "K1" end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "once_per", times = 1 })
    host:advance "7d"
    for _ = 1, 3 do look "K2" end
    assert.sent(host, 2)
  end)

  it("tells the price in its currency, and nothing of what has no name, or no price that there is", function()
    for i, product in ipairs { { price = 12.5, currency = "usd", name = "Mug" }, { price = 12.5, currency = "EURO", name = "Mug" },
      { price = 12.5 } } do
      local user = "user-" .. i
      product.sku = "M1"
      host:profile { user = user, email = user .. "@mail.example" }
      for _ = 1, 3 do host:event { type = "product.viewed", user = user, payload = product } end
    end
    assert.sent(host, { to = "user-1", text_has = "It is $12.50" })
    assert.not_sent(host, { to = "user-2", text_has = "It is" })
    assert.sent(host, 2)
  end)
end)
