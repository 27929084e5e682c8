-- rules/win_back: a word 60 days after an order that no other followed, a present, a question; and the answer is heard.
local sim = require "kairos.spec"

describe("win_back", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/win_back", mode = "live", at = "2026-03-01 10:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end)

  local function order()
    host:event { type = "order.completed", user = "ada" }
  end
  local function click(template)
    host:event { type = "message.clicked", user = "ada",
      payload = { campaign = "win_back", template = template, channel = "email" } }
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

  it("offers a bag three weeks later, on a weekday at ten, and asks at last whether to go on", function()
    order()
    host:advance "119d"
    assert.sent(host, 2)
    assert.sent(host, { template = "offer", at = "2026-05-22 10:00 Europe/Berlin" })
    host:advance "2d"
    assert.sent(host, 3)
    assert.sent(host, { template = "last_word", subject = "Shall we stop writing?" })
  end)

  it("stops the moment somebody comes back, wherever it was", function()
    order()
    host:advance "61d"
    order()
    host:advance "59d"
    assert.sent(host, 1)
    host:advance "22d"
    assert.sent(host, 2)
    assert.not_sent(host, { template = "offer" })
  end)

  it("takes silence for a no, until the next order", function()
    order()
    host:advance "134d"
    assert.sent(host, 3)
    assert.is_nil(host:user("ada").attributes.asleep)
    host:advance "2d"
    assert.is_true(host:user("ada").attributes.asleep)
    order()
    assert.is_nil(host:user("ada").attributes.asleep)
    host:advance "61d"
    assert.sent(host, { template = "miss_you", times = 2 })
  end)

  it("hears a yes, and does not take a scanner's click for one", function()
    host:profile { user = "bob", email = "bob@mail.example" }
    order()
    host:event { type = "order.completed", user = "bob" }
    host:advance "130d"
    local asked = host:sent { to = "bob", template = "last_word" }[1].at
    click "last_word"
    host:event { type = "message.clicked", user = "bob", at = asked + 2000,
      payload = { campaign = "win_back", template = "last_word" } }
    host:advance "20d"
    assert.is_nil(host:user("ada").attributes.asleep)
    assert.is_true(host:user("bob").attributes.asleep)
  end)

  it("does not write to an address that bounced", function()
    host:provider { email = "bounce", times = 1 }
    order()
    host:advance "60d"
    assert.sent(host, 1)
    host:advance "200d"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "suppressed", because = "bounced" })
  end)
end)
