-- rules/low_stock_nudge: few are left of what a customer keeps coming back to.
local sim = require "kairos.spec"

describe("low_stock_nudge", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/low_stock_nudge", mode = "live" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function look(stock, sku)
    host:event { type = "product.viewed", user = "ada",
      payload = { sku = sku or "G1", name = "Grinder", price = 149.9, currency = "EUR", stock = stock } }
  end

  it("tells of the few that are left, an hour after the second look", function()
    look(40)
    host:advance "3d"
    look(3)
    host:advance "59m"
    assert.not_sent(host)
    host:advance "1m"
    assert.sent(host, { to = "ada", template = "few_left", subject = "Only 3 left: Grinder",
      text_has = "It is 149,90\194\160€", times = 1 })
  end)

  it("tells of the last one", function()
    look(6)
    host:advance "1d"
    look(1)
    host:advance "1h"
    assert.sent(host, { subject = "The last Grinder", text_has = "there is one left" })
  end)

  it("says nothing while there are plenty, or none", function()
    look(40)
    look(6)
    look(0)
    host:advance "2h"
    assert.not_sent(host)
  end)

  it("says nothing of what was always rare, or is seen for the first time", function()
    look(3)
    look(2)
    look(2, "G2")
    host:advance "2h"
    assert.not_sent(host)
  end)

  it("says nothing to whom has ordered, before or meanwhile", function()
    look(40)
    look(3)
    host:advance "30m"
    host:event { type = "order.completed", user = "ada" }
    host:advance "2h"
    look(2)
    host:advance "2h"
    assert.not_sent(host)
  end)

  it("does not mind shops that do not tell their stock", function()
    look(nil)
    look(nil)
    look("3")
    host:advance "2h"
    assert.not_sent(host)
  end)

  it("says it once in two weeks", function()
    look(40)
    for _ = 1, 3 do
      look(3)
      host:advance "2h"
    end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "few_left", by = "once_per" })
  end)

  it("says nothing any more when it hears of the looks half a day late, as after an outage", function()
    local function late(stock, at)
      host:event { type = "product.viewed", user = "ada", at = at, payload = { sku = "G1", name = "Grinder", stock = stock } }
    end
    late(40, "2026-05-31 20:00 UTC")
    late(3, "2026-06-01 04:00 UTC")
    host:advance "1d"
    assert.not_sent(host)
  end)
end)
