-- rules/win_back: a word to a customer 60 days after an order that no other followed.
local sim = require "kairos.spec"

describe("win_back", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/win_back", mode = "live", at = "2026-03-01 10:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function order()
    host:event { type = "order.completed", user = "ada" }
  end

  it("writes 60 days after the last order", function()
    order()
    host:advance "30d"
    order()
    host:advance "59d"
    assert.not_sent(host)
    host:advance "1d"
    assert.sent(host, { to = "ada", template = "miss_you", subject = "Has the coffee run out, Ada?", times = 1 })
  end)

  it("counts 60 times 24 hours, whatever the clocks do in spring", function()
    order() -- before the switch to summer time: 10:00 becomes 11:00
    host:at "2026-04-30 10:59 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-04-30 11:00 Europe/Berlin"
    assert.sent(host, { to = "ada", at = "2026-04-30 11:00 Europe/Berlin" })
  end)

  it("writes again after another order and another 60 days", function()
    order()
    host:advance "61d"
    order()
    host:advance "59d"
    assert.sent(host, 1)
    host:advance "1d"
    assert.sent(host, 2)
  end)

  it("does not write to an address that bounced", function()
    host:provider { email = "bounce", times = 1 }
    order()
    host:advance "60d"
    assert.sent(host, 1)
    order()
    host:advance "60d"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "suppressed", because = "bounced" })
  end)
end)
