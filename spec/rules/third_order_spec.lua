-- rules/third_order: thanks for the third order within 90 days, once in a customer's life.
local sim = require "kairos.spec"

describe("third_order", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/third_order", mode = "live" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function order()
    host:event { type = "order.completed", user = "ada", payload = { total = 20 } }
  end

  it("thanks for the third order of a season", function()
    order()
    host:advance "40d"
    order()
    host:advance "49d"
    assert.not_sent(host)
    order()
    assert.sent(host, { to = "ada", template = "thank_you", subject = "Three orders in a season: thank you, Ada" })
  end)

  it("counts those of the last 90 days only", function()
    order()
    host:advance "45d"
    order()
    host:advance "45d"
    order()
    assert.not_sent(host)
    host:advance "44d"
    order()
    assert.sent(host, 1)
  end)

  it("thanks once, even years later", function()
    for _ = 1, 4 do order() end
    host:advance "730d"
    for _ = 1, 3 do order() end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "once_per", times = 2 })
  end)
end)
