-- rules/next_best_offer: three weeks after an order, the one thing that suits.
local sim = require "kairos.spec"

describe("next_best_offer", function()
  local host
  local function start(variant)
    host = sim.host { rules = "rules/next_best_offer", mode = "live", at = "2026-06-01 12:00 Europe/Berlin", -- a Monday
      variants = variant and { next_best_offer = variant } }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end
  before_each(function() start() end)

  local function order(user) host:event { type = "order.completed", user = user or "ada" } end
  local function look(category)
    host:event { type = "product.viewed", user = "ada", payload = { sku = "X", category = category } }
  end

  it("offers something three weeks after the last order, on a weekday at five", function()
    order()
    host:at "2026-06-22 16:59 Europe/Berlin"
    assert.not_sent(host)
    host:advance "1m"
    assert.sent(host, { to = "ada", at = "2026-06-22 17:00 Europe/Berlin", times = 1 })
    host:advance "60d"
    assert.sent(host, 1)
  end)

  it("offers a grinder to whom has looked at grinders", function()
    order()
    host:advance "10d"
    look "grinders"
    look "grinders"
    host:advance "12d"
    assert.sent(host, { template = "grinder" })
    assert.not_exposed(host) -- where habits speak, nothing is tried
  end)

  it("offers a subscription to whom orders again and again, and no second one", function()
    for _ = 1, 3 do order() end
    host:advance "22d"
    assert.sent(host, { template = "subscription" })
    host:profile { user = "bob", email = "bob@mail.example", subscriber = true }
    for _ = 1, 3 do order "bob" end
    host:advance "25d"
    assert.sent(host, { to = "bob", template = "tasting_set" })
    assert.not_exposed(host)
  end)

  it("tries two things with the others, the same with the same customer", function()
    local seen = {}
    for i = 1, 60 do
      host:profile { user = "u" .. i, email = i .. "@mail.example" }
      order("u" .. i)
    end
    host:advance "25d"
    for _, message in ipairs(host:sent()) do seen[message.template] = (seen[message.template] or 0) + 1 end
    assert.is_true(seen.tasting_set > 15 and seen.subscription > 15)
    assert.sent(host, 60)
    assert.exposed(host, 60)
  end)

  it("counts an order within a week for the thing that was offered", function()
    for _, variant in ipairs { "tasting_set", "subscription" } do
      start(variant)
      order()
      host:advance "22d"
      assert.sent(host, { to = "ada", template = variant, times = 1 })
      assert.exposed(host, { to = "ada", experiment = "next_best_offer", variant = variant, goal = false })
      host:advance "3d"
      order()
      assert.exposed(host, { to = "ada", variant = variant, goal = true })
    end
  end)

  it("starts the three weeks anew with an order", function()
    order()
    host:advance "20d"
    order()
    host:advance "20d"
    assert.not_sent(host)
    host:advance "3d"
    assert.sent(host, 1)
  end)

  it("offers one thing a month", function()
    order()
    host:advance "22d"
    order()
    host:advance "22d"
    order()
    host:advance "22d"
    assert.sent(host, 2)
    assert.held_back(host, { to = "ada", by = "cap", times = 1 })
  end)
end)
