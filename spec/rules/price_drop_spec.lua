-- rules/price_drop: those who have looked at a product hear that it costs less.
local sim = require "kairos.spec"

describe("price_drop", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/price_drop", mode = "live" }
  end)

  local function shopper(user, more)
    local profile = { user = user, first_name = user, email = user .. "@mail.example" }
    for name, value in pairs(more or {}) do profile[name] = value end
    host:profile(profile)
  end
  local function look(user, sku) host:event { type = "product.viewed", user = user, payload = { sku = sku } } end
  local function drop(sku, was, price, id)
    host:event { type = "price.dropped", subject = sku, id = id,
      payload = { sku = sku, name = "Kettle", was = was, price = price, currency = "EUR" } }
    host:advance "1m"
  end

  it("tells those who looked at it, or marked it, and nobody else", function()
    for _, user in ipairs { "ada", "bob", "cid" } do shopper(user) end
    look("ada", "K1")
    host:event { type = "product.favourited", user = "bob", payload = { sku = "K1" } }
    look("cid", "K2")
    host:advance "1d"
    drop("K1", 59, 49)
    assert.sent(host, 2)
    assert.sent(host, { to = "ada", template = "lower_price", subject = "Kettle: now 49,00\194\160€ instead of 59,00\194\160€",
      html_has = "That is 16&nbsp;% off", times = 1 })
    assert.sent(host, { to = "bob", times = 1 })
  end)

  it("tells each once, however often somebody looked and the shop reports it", function()
    shopper "ada"
    for _ = 1, 5 do look("ada", "K1") end
    drop("K1", 59, 49, "drop-1")
    drop("K1", 59, 49, "drop-1")
    assert.sent(host, 1)
  end)

  it("reaches those with the app there", function()
    shopper("ada", { push_token = "token-1" })
    look("ada", "K1")
    drop("K1", 59, 49)
    assert.sent(host, { to = "ada", channel = "push", template = "lower_price_push", times = 1 })
    assert.sent(host, 1)
  end)

  it("has forgotten after 30 days who looked", function()
    shopper "ada"
    look("ada", "K1")
    host:advance "31d"
    drop("K1", 59, 49)
    assert.not_sent(host)
  end)

  it("does not tell whom has just bought, for more", function()
    shopper "ada"
    look("ada", "K1")
    host:event { type = "order.completed", user = "ada" }
    host:advance "10d"
    drop("K1", 59, 49)
    assert.not_sent(host)
  end)

  it("lets those sleep who have not answered for months", function()
    shopper("ada", { asleep = true })
    look("ada", "K1")
    drop("K1", 59, 49)
    assert.not_sent(host)
  end)

  it("says nothing of pennies, of rises, or without both prices", function()
    shopper "ada"
    look("ada", "K1")
    drop("K1", 59, 57)
    drop("K1", 49, 59)
    drop("K1", nil, 49)
    drop("K1", 0, -1)
    assert.not_sent(host)
  end)

  it("says nothing of what is a slip in the shop's prices: nobody is promised a kettle for 49 cents", function()
    shopper "ada"
    look("ada", "K1")
    drop("K1", 59, 0.49)
    drop("K1", 59, 0)
    drop("K1", 59, -49)
    assert.not_sent(host)
    drop("K1", 59, 49)
    assert.sent(host, 1)
  end)

  it("tells of one price in three days", function()
    shopper "ada"
    look("ada", "K1")
    look("ada", "K2")
    drop("K1", 59, 49)
    drop("K2", 59, 49)
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "cap", times = 1 })
  end)

  it("leaves those alone who have unsubscribed", function()
    shopper "ada"
    look("ada", "K1")
    host:event { type = "message.unsubscribed", user = "ada", payload = { channel = "email" } }
    drop("K1", 59, 49)
    assert.not_sent(host)
    assert.held_back(host, { to = "ada", by = "suppressed" })
  end)

  it("wakes nobody: the telephone says it in the morning, unless something was ordered meanwhile", function()
    for _, user in ipairs { "ada", "bob" } do
      shopper(user, { push_token = "token-" .. user, time_zone = "Europe/Berlin" })
      look(user, "K1")
    end
    host:at "2026-06-02 02:00 Europe/Berlin"
    drop("K1", 59, 49)
    assert.not_sent(host)
    host:event { type = "order.completed", user = "bob" }
    host:at "2026-06-02 08:00 Europe/Berlin"
    assert.sent(host, { to = "ada", channel = "push", subject = "Kettle now 49,00\194\160€", times = 1 })
    host:advance "1d"
    assert.sent(host, 1)
  end)

  it("goes out no faster than its provider bears, and all of it", function()
    for i = 1, 2500 do
      local user = "user-" .. i
      host:profile { user = user, email = user .. "@mail.example" }
      look(user, "K1")
    end
    drop("K1", 59, 49) -- and a minute: 500 a second were reached
    local first = #host:sent()
    assert.is_true(first >= 1000 and first <= 2001, first)
    host:advance "2m"
    assert.sent(host, 2500)
  end)
end)
