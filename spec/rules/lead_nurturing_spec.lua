-- rules/lead_nurturing: from the guide to a tasting, at a company's own pace.
local sim = require "kairos.spec"

describe("lead_nurturing", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/lead_nurturing", mode = "live", at = "2026-06-01 15:00 Europe/Berlin" } -- a Monday
    host:profile { user = "lee", first_name = "Lee", email = "lee@office.example", time_zone = "Europe/Berlin" }
  end)

  local function lead(more)
    local payload = { company = "Acme & Sons", people = 30, source = "fair" }
    for name, value in pairs(more or {}) do payload[name] = value end
    host:event { type = "lead.created", user = "lee", payload = payload }
  end
  local function event(name) host:event { type = name, user = "lee" } end

  it("tells its whole story to somebody who never answers, on weekday mornings", function()
    lead()
    assert.sent(host, { template = "guide", subject = "Coffee for Acme & Sons: the guide you asked for", times = 1 })
    host:advance "60d"
    assert.sent(host, 4)
    assert.sent(host, { template = "machines", at = "2026-06-05 09:30 Europe/Berlin" })
    assert.sent(host, { template = "reckoning", at = "2026-06-10 09:30 Europe/Berlin", text_has = "504,00\194\160€ a month" })
    assert.sent(host, { template = "tasting", at = "2026-06-23 09:30 Europe/Berlin" })
  end)

  it("does not send the best page to whom has opened the guide", function()
    lead()
    host:advance "1d"
    event "guide.opened"
    host:advance "60d"
    assert.sent(host, 3)
    assert.not_sent(host, { template = "machines" })
  end)

  it("tells the sales team at once of whom looks at the prices again and again", function()
    lead()
    host:advance "10d"
    event "pricing.viewed"
    host:advance "1h"
    assert.not_sent(host, { channel = "webhook" })
    event "pricing.viewed"
    assert.sent(host, { channel = "webhook", template = "hot_lead", data = { looks = 2, people = 30, source = "fair" }, times = 1 })
  end)

  it("tells them on the first day too, once a month, and of nobody who has booked or is no lead", function()
    lead()
    for _ = 1, 3 do event "pricing.viewed" end
    assert.sent(host, { channel = "webhook", template = "hot_lead", times = 1 })
    host:event { type = "pricing.viewed", user = "bob" }
    host:event { type = "pricing.viewed", user = "bob" }
    event "tasting.booked"
    host:advance "40d"
    for _ = 1, 3 do event "pricing.viewed" end
    assert.sent(host, { channel = "webhook", times = 1 })
  end)

  it("ends with a tasting booked, or the lead closed", function()
    for i, name in ipairs { "tasting.booked", "lead.closed" } do
      lead()
      host:advance "1d"
      event(name)
      host:advance "60d"
      assert.sent(host, i)
    end
  end)

  it("is told once, however often the form is sent", function()
    lead()
    host:advance "1m"
    lead()
    assert.sent(host, 1)
    host:advance "60d"
    assert.sent(host, 4)
    assert.not_held_back(host)
  end)

  it("reckons with ten people where nobody says how many", function()
    lead { people = "many" }
    host:advance "15d"
    assert.sent(host, { template = "reckoning", text_has = "168,00\194\160€ a month" })
  end)

  it("sends what was asked for to whom wants no advertising, and nothing else", function()
    host:event { type = "consent.withdrawn", user = "lee", payload = { purpose = "marketing" } }
    lead()
    host:advance "60d"
    assert.sent(host, { template = "guide", times = 1 })
    assert.sent(host, 1)
    assert.held_back(host, { to = "lee", by = "consent", times = 3 })
  end)
end)
