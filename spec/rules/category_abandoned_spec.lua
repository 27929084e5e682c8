-- rules/category_abandoned: help to choose, for whom has gone round a shelf three times and picked up nothing.
local sim = require "kairos.spec"

describe("category_abandoned", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/category_abandoned", mode = "live", at = "2026-06-01 10:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end)

  local function look(category, times)
    for _ = 1, times or 1 do
      host:event { type = "category.viewed", user = "ada", payload = { category = category } }
      host:advance "5m"
    end
  end

  it("helps in the evening of that day", function()
    look("grinders", 3)
    host:at "2026-06-01 18:29 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-06-01 18:30 Europe/Berlin"
    assert.sent(host, { to = "ada", template = "guide", subject = "Which of our grinders?", html_has = "/p/GR-02",
      text_has = "for a rucksack", times = 1 })
  end)

  it("helps on the morrow whom it meets late in the evening", function()
    host:at "2026-06-01 22:00 Europe/Berlin"
    look("coffee", 3)
    host:at "2026-06-03 00:00 Europe/Berlin"
    assert.sent(host, { at = "2026-06-02 18:30 Europe/Berlin", subject = "Which of our coffees?" })
  end)

  it("says nothing after two looks, or of a category that it has no advice for", function()
    look("grinders", 2)
    look("mugs", 5)
    look("kettles", 2)
    host:advance "2d"
    assert.not_sent(host)
  end)

  it("is not needed by whom has looked at a product, filled a cart or ordered", function()
    for _, name in ipairs { "product.viewed", "cart.updated", "order.completed" } do
      look("grinders", 3)
      host:event { type = name, user = "ada", payload = { sku = "GR-02" } }
      host:advance "2d"
    end
    assert.not_sent(host)
  end)

  it("leaves a tenth without, and counts what they order all the same", function()
    host = sim.host { rules = "rules/category_abandoned" } -- as it is, and not as if it were live for everybody
    for i = 1, 200 do
      host:profile { user = "u" .. i, email = i .. "@mail.example" }
      for _ = 1, 3 do host:event { type = "category.viewed", user = "u" .. i, payload = { category = "grinders" } } end
    end
    host:advance "1d"
    local without
    for i = 1, 200 do
      if host:variant("u" .. i, "category_abandoned") == "*holdout" then without = "u" .. i end
    end
    assert.is_true(#host:sent() > 160 and #host:sent() < 199)
    assert.held_back(host, { to = without, by = "holdout", times = 1 })
    host:event { type = "order.completed", user = without }
    assert.exposed(host, { to = without, experiment = "category_abandoned", goal = true })
  end)

  it("helps once in two weeks", function()
    look("grinders", 3)
    host:advance "1d"
    look("coffee", 3)
    host:advance "2d"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "guide", by = "cap" })
    host:advance "13d"
    look("coffee", 3)
    host:advance "1d"
    assert.sent(host, 2)
  end)
end)
