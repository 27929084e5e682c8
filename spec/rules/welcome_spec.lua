-- rules/welcome: hello to somebody who has just registered, and two more mails till the first order; once in a life.
local sim = require "kairos.spec"

describe("welcome", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/welcome", mode = "live", at = "2026-06-01 12:00 Europe/Berlin" } -- a Monday
  end)

  local function profile()
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end
  local function register(user, at)
    host:event { type = "user.registered", user = user, at = at }
  end

  it("says hello by name, at once", function()
    profile()
    register "ada"
    assert.sent(host, { to = "ada", template = "hello", subject = "Welcome, Ada: your first cup is on us",
      text_has = "FIRSTCUP", times = 1 })
  end)

  it("says hello to somebody whose name it does not know", function()
    host:profile { user = "bob", email = "bob@mail.example" }
    register "bob"
    assert.sent(host, { to = "bob", subject = "Welcome: your first cup is on us" })
  end)

  it("tells how to brew after two days, and of the code after a week, at decent times where the customer lives", function()
    profile()
    register "ada"
    host:advance "60d"
    assert.sent(host, 3)
    assert.sent(host, { template = "brewing", at = "2026-06-04 10:00 Europe/Berlin", subject = "The four-minute cup, Ada" })
    assert.sent(host, { template = "first_cup", at = "2026-06-08 18:00 Europe/Berlin" })
  end)

  it("leaves weekends alone", function()
    host:at "2026-06-04 12:00 Europe/Berlin" -- a Thursday
    profile()
    register "ada"
    host:advance "60d"
    assert.sent(host, { template = "brewing", at = "2026-06-08 10:00 Europe/Berlin" })
    assert.sent(host, { template = "first_cup", at = "2026-06-12 18:00 Europe/Berlin" })
  end)

  it("goes by the customer's clock", function()
    host:profile { user = "eve", email = "eve@mail.example", time_zone = "Asia/Tokyo" }
    register "eve"
    host:advance "60d"
    assert.sent(host, { to = "eve", template = "brewing", at = "2026-06-04 10:00 Asia/Tokyo" })
    assert.sent(host, { to = "eve", template = "first_cup", at = "2026-06-08 18:00 Asia/Tokyo" })
  end)

  it("ends with the first order: nobody is reminded of a code that he has used", function()
    profile()
    register "ada"
    host:advance "1d"
    host:event { type = "order.completed", user = "ada" }
    host:advance "60d"
    assert.sent(host, 1)
  end)

  it("happens once, however often the shop reports it", function()
    profile()
    register "ada"
    host:advance "1m"
    register "ada"
    host:advance "300d"
    register "ada"
    host:advance "30d"
    assert.sent(host, 3)
    assert.not_held_back(host) -- it does not even begin
  end)

  it("says nothing to somebody who has unsubscribed, before or in the middle", function()
    profile()
    register "ada"
    host:event { type = "message.unsubscribed", user = "ada", payload = { channel = "email" } }
    host:event { type = "message.unsubscribed", user = "bob", payload = { channel = "email" } }
    register "bob"
    host:advance "60d"
    assert.sent(host, 1)
    assert.not_sent(host, { to = "bob" })
    assert.held_back(host, { to = "bob", by = "suppressed", because = "unsubscribed" })
  end)

  it("says it when the provider is back", function()
    profile()
    host:provider { email = 503, times = 3 }
    register "ada"
    assert.not_sent(host)
    host:advance "10m"
    assert.sent(host, { to = "ada", template = "hello", times = 1 })
  end)
end)
