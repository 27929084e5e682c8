-- rules/back_in_stock: who asked to be told is told, once for each time of asking.
local sim = require "kairos.spec"

describe("back_in_stock", function()
  local host
  local function start(at)
    host = sim.host { rules = "rules/back_in_stock", mode = "live", at = at or "2026-06-01 12:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end
  before_each(function() start() end)

  local function ask(user, sku) host:event { type = "stock.requested", user = user, payload = { sku = sku } } end
  local function back(sku, stock)
    host:event { type = "stock.back", subject = sku,
      payload = { sku = sku, name = "Kettle", price = 59, currency = "EUR", stock = stock } }
    host:advance "1m"
  end

  it("tells those who asked, and nobody else", function()
    host:profile { user = "bob", email = "bob@mail.example" }
    ask("ada", "K1")
    ask("bob", "K2")
    host:advance "20d"
    back("K1", 7)
    assert.sent(host, { to = "ada", template = "here_again", subject = "Kettle is here again", text_has = "7 of them", times = 1 })
    assert.sent(host, 1)
  end)

  it("tells them once; who asks again is told again", function()
    ask("ada", "K1")
    back "K1"
    back "K1"
    assert.sent(host, 1)
    ask("ada", "K1")
    back "K1"
    assert.sent(host, 2)
  end)

  it("sends an SMS by day, and an email at night", function()
    start "2026-06-01 19:50 Europe/Berlin"
    host:profile { user = "ada", phone = "+49301234567" }
    ask("ada", "K1")
    ask("ada", "K2")
    back "K1"
    assert.sent(host, { channel = "sms", text_has = "Kettle is here again, as you asked", times = 1 })
    host:advance "20m"
    back "K2"
    assert.sent(host, { channel = "email", times = 1 })
  end)

  it("keeps the promise to whom wants no advertising: it was asked for", function()
    host:event { type = "consent.withdrawn", user = "ada", payload = { purpose = "marketing" } }
    ask("ada", "K1")
    back "K1"
    assert.sent(host, 1)
  end)

  it("forgets a wish after half a year", function()
    ask("ada", "K1")
    host:advance "181d"
    back "K1"
    assert.not_sent(host)
  end)

  it("minds twenty wishes, and lets the oldest go", function()
    for i = 1, 21 do
      ask("ada", "K" .. i)
      host:advance "1m"
    end
    back "K1"
    assert.not_sent(host)
    back "K2"
    back "K21"
    assert.sent(host, 2)
  end)

  it("does not take back what it promised when it was sold out again at once", function()
    ask("ada", "K1")
    back("K1", 0)
    assert.not_sent(host)
    back("K1", 3)
    assert.sent(host, { to = "ada", text_has = "3 of them", times = 1 })
  end)

  it("keeps the promise where the shop does not say what it is, or in a currency that there is not", function()
    ask("ada", "K1")
    host:event { type = "stock.back", subject = "K1", payload = { sku = "K1", price = 5, currency = "EURO" } }
    host:advance "1m"
    assert.sent(host, { to = "ada", subject = "K1 is here again", times = 1 })
  end)
end)
