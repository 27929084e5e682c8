-- rules/cart_abandoned: a cart that nobody touches is reminded of, once, and then given a reason to be bought.
local sim = require "kairos.spec"

describe("cart_abandoned", function()
  local host
  local function start(options)
    options = options or {}
    options.rules, options.mode = "rules/cart_abandoned", "live"
    options.at = options.at or "2026-11-27 09:00 Europe/Berlin"
    host = sim.host(options)
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end
  before_each(function() start() end)

  local function cart(total, id, more)
    local event = { type = "cart.updated", user = "ada", payload = { cart_id = id or "c1", total = total, currency = "EUR",
      items = { { quantity = 2, name = "Cup", sku = "CP-05" } } } }
    for name, value in pairs(more or {}) do event[name] = value end
    return host:event(event)
  end
  local function order(id)
    host:event { type = "order.completed", user = "ada", payload = { cart_id = id } }
  end
  local function click(template)
    host:event { type = "message.clicked", user = "ada",
      payload = { campaign = "cart_abandoned", template = template or "reminder", channel = "email" } }
  end

  describe("reminds", function()
    it("an hour after the last change, once", function()
      cart(20)
      host:advance "30m"
      cart(40)
      host:advance "59m"
      assert.sent(host, 0)
      host:advance "1m"
      assert.sent(host, { to = "ada", template = "reminder", subject = "Ada, your cart is waiting", text_has = "2 × Cup",
        at = "2026-11-27 10:30 Europe/Berlin" })
      assert.sent(host, { text_has = "Together 40,00\194\160€" })
      host:advance "12h"
      assert.sent(host, 1)
    end)

    it("of a cart in a currency that there is not, without its sum", function()
      cart(20, "c1", { payload = { cart_id = "c1", total = 20, currency = "EURO", items = { { quantity = 1, name = "Cup" } } } })
      host:advance "2h"
      assert.sent(host, { to = "ada", text_has = "1 × Cup", times = 1 })
      assert.not_sent(host, { text_has = "Together" })
    end)

    it("of one cart a day, however many there are", function()
      cart(20, "c1")
      host:advance "30m"
      cart(30, "c2")
      host:advance "2h"
      assert.sent(host, 1)
      assert.held_back(host, { to = "ada", template = "reminder", by = "once_per" })
    end)

    it("once, though the shop reports the cart twice", function()
      assert.equal("accepted", cart(20, "c1", { id = "e1" }))
      assert.equal("duplicate", cart(20, "c1", { id = "e1" }))
      host:advance "2h"
      assert.sent(host, 1)
      assert.not_held_back(host)
    end)

    it("once the provider is back, and not twice", function()
      host:provider { email = "timeout", times = 2 }
      cart(20)
      host:advance "2h"
      assert.sent(host, { to = "ada", template = "reminder", times = 1 })
    end)

    it("not any more when the provider stays away for long", function()
      host:provider { email = 500 }
      cart(20)
      host:advance "12h"
      assert.not_sent(host)
      assert.held_back(host, { to = "ada", template = "reminder", by = "exhausted", because = "500" })
    end)
  end)

  describe("stops at once", function()
    it("when the cart is bought", function()
      cart(20)
      host:advance "59m"
      order "c1"
      host:advance "7d"
      assert.not_sent(host)
    end)

    it("when it is bought after the reminder: no reasons any more", function()
      cart(20)
      host:advance "2h"
      order "c1"
      host:advance "7d"
      assert.sent(host, 1)
    end)

    it("but not when another cart is bought", function()
      cart(20, "c1")
      order "c2"
      host:advance "2h"
      assert.sent(host, { template = "reminder", times = 1 })
    end)

    it("when a shop that numbers no carts reports an order", function()
      cart(20, "c1")
      order(nil)
      host:advance "2h"
      assert.not_sent(host)
    end)

    it("when the cart is emptied", function()
      cart(20)
      host:advance "10m"
      cart(0)
      host:advance "7d"
      assert.not_sent(host)
    end)
  end)

  describe("gives a reason", function()
    it("at ten in the morning, where the customer lives, to whom did not click", function()
      cart(20)
      host:advance "26h" -- 10:00 is the end of the reminder's day; the next ten o'clock is on the morrow
      assert.sent(host, 1)
      host:at "2026-11-29 09:59 Europe/Berlin"
      assert.sent(host, 1)
      host:at "2026-11-29 10:00 Europe/Berlin"
      assert.sent(host, 2)
      assert.sent(host, { to = "ada", at = "2026-11-29 10:00 Europe/Berlin" })
      host:advance "30d"
      assert.sent(host, 2)
    end)

    it("once in three months: nobody learns to wait for it", function()
      for week = 1, 8 do
        cart(20, "c" .. week)
        host:advance "7d"
      end
      assert.sent(host, { template = "reminder", times = 8 })
      assert.sent(host, 9)
      assert.held_back(host, { to = "ada", by = "once_per", times = 7 })
    end)

    it("to half of the customers each", function()
      local counts = { free_shipping = 0, ten_percent = 0 }
      for i = 1, 200 do
        local user = "user-" .. i
        host:profile { user = user, email = user .. "@mail.example", time_zone = "Europe/Berlin" }
        host:event { type = "cart.updated", user = user, payload = { cart_id = "c", total = 20, currency = "EUR", items = {} } }
      end
      host:advance "3d"
      for _, message in ipairs(host:sent { campaign = "cart_abandoned" }) do
        if counts[message.template] then counts[message.template] = counts[message.template] + 1 end
      end
      assert.equal(200, counts.free_shipping + counts.ten_percent)
      assert.is_true(counts.free_shipping > 70 and counts.ten_percent > 70)
    end)

    it("on the telephone, to whom has the app", function()
      host:profile { user = "ada", push_token = "token-1" }
      cart(20)
      host:advance "3d"
      assert.sent(host, { to = "ada", channel = "push", times = 1 })
      assert.sent(host, { to = "ada", channel = "email", times = 1 })
    end)

    it("reminds there, too, whom it has no address of", function()
      host:profile { user = "bob", push_token = "token-2", time_zone = "Europe/Berlin" }
      host:event { type = "cart.updated", user = "bob", payload = { cart_id = "c9", total = 20, currency = "EUR" } }
      host:advance "1h"
      assert.sent(host, { to = "bob", channel = "push", template = "reminder_push", times = 1,
        text_has = "Together 20,00\194\160€" })
      host:advance "3d"
      assert.sent(host, { to = "bob", channel = "push", times = 2 })
    end)

    it("not to whom has looked again", function()
      cart(20)
      host:advance "2h"
      click()
      host:advance "7d"
      assert.sent(host, 1)
    end)

    it("to whom only a mail scanner has clicked for", function()
      cart(20)
      host:advance "1h"
      host:advance "3s"
      click() -- all links within seconds: no person
      host:advance "3d"
      assert.sent(host, 2)
    end)

    it("and an unsubscribe that only a scanner has looked at is none", function()
      cart(20)
      host:advance "1h"
      host:advance "2s"
      host:event { type = "message.clicked", user = "ada", payload = { campaign = "cart_abandoned", template = "reminder",
        channel = "email", url = "https://shop.example/preferences" } }
      host:advance "3d"
      assert.sent(host, 2)
      assert.not_held_back(host)
    end)

    it("not to whom has clicked on something of another campaign", function()
      cart(20)
      host:advance "2h"
      host:event { type = "message.clicked", user = "ada", payload = { campaign = "welcome", channel = "email" } }
      host:advance "3d"
      assert.sent(host, 2)
    end)
  end)

  describe("is told no", function()
    it("by whom unsubscribes: nothing from then on, in the middle of it too", function()
      cart(20)
      host:advance "2h"
      host:event { type = "message.unsubscribed", user = "ada", payload = { channel = "email" } }
      host:advance "7d"
      assert.sent(host, 1)
      assert.held_back(host, { to = "ada", by = "suppressed", because = "unsubscribed" })
    end)

    it("by a cap of none", function()
      start { config = { purposes = { { name = "marketing", consent = "opt_out", caps = { "0/1d" } } } } }
      cart(20)
      host:advance "7d"
      assert.not_sent(host)
      assert.held_back(host, { to = "ada", template = "reminder", by = "cap" })
    end)

    it("by the night: what comes due then waits for the morning, where the customer lives", function()
      start { at = "2026-11-27 20:30 Europe/Berlin" }
      cart(20)
      host:at "2026-11-28 07:59 Europe/Berlin"
      assert.not_sent(host)
      host:at "2026-11-28 08:00 Europe/Berlin"
      assert.sent(host, { template = "reminder", at = "2026-11-28 08:00 Europe/Berlin" })
    end)

    it("by an order in that night: the morning brings nothing", function()
      start { at = "2026-11-27 20:30 Europe/Berlin" }
      cart(20)
      host:advance "3h"
      order "c1"
      host:advance "7d"
      assert.not_sent(host)
    end)

    it("by quiet hours of the configuration, longer than the message is of use", function()
      start { config = { purposes = { { name = "marketing", consent = "opt_out", quiet_hours = "09:30-20:00" } } } }
      cart(20)
      host:advance "1h"
      assert.not_sent(host)
      assert.held_back(host, { to = "ada", template = "reminder", by = "quiet_hours" })
    end)
  end)

  it("says nothing of a cart that it hears of a day late", function()
    cart(20, "c1", { at = "2026-11-25 09:00 Europe/Berlin" })
    host:advance "7d"
    assert.not_sent(host)
  end)

  it("lets those finish who began with it, though it is rewritten meanwhile", function()
    cart(20)
    host:advance "30m"
    host:reload "spec/versions/2/cart_abandoned"
    host:profile { user = "bob", email = "bob@mail.example" }
    host:event { type = "cart.updated", user = "bob", payload = { cart_id = "b1", total = 20, items = {} } }
    host:advance "15m"
    assert.sent(host, { to = "bob", subject = "Hurry", times = 1 })
    host:advance "15m"
    assert.sent(host, { to = "ada", template = "reminder", text_has = "2 × Cup", at = "2026-11-27 10:00 Europe/Berlin" })
    host:advance "3d"
    assert.sent(host, { to = "ada", times = 2 })
    assert.sent(host, { to = "bob", times = 1 })
    -- Who begins anew begins with what serves now.
    cart(30, "c2")
    host:advance "11m"
    assert.sent(host, { to = "ada", subject = "Hurry" })
  end)

  it("is tried without sending anything", function()
    host = sim.host { rules = "rules/cart_abandoned", config = { delivery = { paused = true } } }
    host:profile { user = "ada", email = "ada@mail.example" }
    cart(20)
    host:advance "3h"
    assert.not_sent(host)
    assert.why(host, { to = "ada", template = "reminder", decision = "send" })
  end)
end)
