-- rules/service_outage: who uses a service hears that it is down, and that it works again; nobody hears half of it.
local sim = require "kairos.spec"

describe("service_outage", function()
  local host
  local function start(at, config)
    host = sim.host { rules = "rules/service_outage", mode = "live", at = at or "2026-06-01 12:00 Europe/Berlin", config = config }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
    host:profile { user = "bob", email = "bob@mail.example", phone = "+49301234567", time_zone = "Europe/Berlin" }
  end
  before_each(function() start() end)

  local function use(user, service)
    host:event { type = "service.used", user = user, payload = { service = service or "app" } }
  end
  local function outage(incident, service, expected)
    host:event { type = "service.outage", subject = service or "app",
      payload = { service = service or "app", title = "Our app", incident = incident, expected = expected } }
    host:advance "1m"
  end
  local function restored(incident, since, service)
    host:event { type = "service.restored", subject = service or "app",
      payload = { service = service or "app", title = "Our app", incident = incident, since = since } }
    host:advance "1m"
  end

  it("tells those who use it, where they live, by email and by SMS", function()
    host:profile { user = "eve", email = "eve@mail.example", time_zone = "America/New_York" }
    use "ada"
    use "bob"
    use "eve"
    outage("i1", "app", host:now() + 3600000)
    assert.sent(host, { to = "ada", template = "down", subject = "Our app is not working at the moment",
      text_has = "back at about 13:00", times = 1 })
    assert.sent(host, { to = "eve", text_has = "since 06:00", times = 1 })
    assert.sent(host, { to = "bob", channel = "sms", text_has = "down since 12:00", times = 1 })
    assert.sent(host, 4)
  end)

  it("is in the customer's own story", function()
    use "ada"
    host:advance "1d"
    outage "i1"
    local story = host:story "ada"
    assert.truthy(story:find("Tue 2026-06-02 12:00:00 CEST  event service.outage of app reaches ada", 1, true), story)
    assert.falsy(story:find("nothing here asks", 1, true), story)
  end)

  it("says nothing to those who do not use it, or have not for a month", function()
    use("ada", "shop")
    use "bob"
    host:advance "31d"
    outage "i1"
    assert.not_sent(host)
  end)

  it("tells each incident once, and its end to those who were told", function()
    use "ada"
    local since = host:now()
    outage "i1"
    outage "i1"
    use "bob" -- later than the outage: knows nothing of it
    host:advance "2h"
    restored("i1", since)
    assert.sent(host, { to = "ada", template = "down", times = 1 })
    assert.sent(host, { to = "ada", template = "back", text_has = "It was down for 2 hours", times = 1 })
    assert.not_sent(host, { to = "bob" })
  end)

  it("says nothing of an outage that is over already", function()
    use "ada"
    restored "i1"
    outage "i1" -- a source was late
    assert.not_sent(host)
    outage "i2"
    assert.sent(host, { to = "ada", template = "down", times = 1 })
  end)

  it("keeps two services apart that are down at once", function()
    use("ada", "app")
    use("ada", "shop")
    outage("i1", "app")
    outage("i2", "shop")
    restored("i1", nil, "app")
    assert.sent(host, { template = "back", times = 1 })
    restored("i2", nil, "shop")
    assert.sent(host, { template = "down", times = 2 })
    assert.sent(host, { template = "back", times = 2 })
  end)

  it("makes do with shops that do not number their incidents", function()
    use "ada"
    for times = 1, 2 do
      outage(nil)
      outage(nil)
      assert.sent(host, { template = "down", times = times })
      restored(nil)
      restored(nil)
      assert.sent(host, { template = "back", times = times })
    end
  end)

  it("wakes nobody by SMS", function()
    start "2026-06-01 03:00 Europe/Berlin"
    use "bob"
    outage "i1"
    assert.sent(host, { to = "bob", channel = "email", times = 1 })
    assert.not_sent(host, { channel = "sms" })
  end)

  it("reaches those who want no advertising, in quiet hours too, and not who has left for good", function()
    host:event { type = "consent.withdrawn", user = "ada", payload = { purpose = "marketing" } }
    host:event { type = "message.unsubscribed", user = "bob" }
    use "ada"
    use "bob"
    outage "i1"
    assert.sent(host, { to = "ada", template = "down" })
    assert.not_sent(host, { to = "bob" })
  end)

  it("is not held up by the slow provider of another channel, and sends no word that comes too late", function()
    start(nil, { providers = { { name = "texts", type = "file" } }, routes = { sms = "texts" } })
    host:provider { texts = 503 }
    use "bob"
    outage "i1"
    assert.sent(host, { to = "bob", channel = "email", times = 1 })
    host:advance "3h"
    assert.sent(host, 1)
    assert.held_back(host, { to = "bob", channel = "sms", times = 1 })
  end)

  it("names the day of what is not today, and no time that has passed", function()
    use "ada"
    host:event { type = "service.outage", subject = "app", payload = { service = "app", title = "Our app", incident = "i1",
      since = host:now() - 13 * 3600000, expected = host:now() + 20 * 3600000 } }
    host:advance "1m"
    assert.sent(host, { text_has = "since Sunday 23:00", times = 1 })
    assert.sent(host, { text_has = "back at about Tuesday 08:00", times = 1 })
    outage("i2", "app", host:now() - 1000)
    assert.sent(host, { template = "down", times = 2 })
    assert.sent(host, { text_has = "We expect it back", times = 1 })
  end)

  it("makes do with shops that do not say what it is called, nor since when", function()
    use "ada"
    for _, name in ipairs { "service.outage", "service.restored" } do
      host:event { type = name, subject = "app", payload = { service = "app", incident = "i1", since = "noon", expected = "soon" } }
      host:advance "5m"
    end
    assert.sent(host, { template = "down", subject = "app is not working at the moment", times = 1 })
    assert.sent(host, { template = "back", subject = "app works again", times = 1 })
  end)
end)
