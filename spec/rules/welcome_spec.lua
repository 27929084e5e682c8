-- rules/welcome: hello to somebody who has just registered, once.
local sim = require "kairos.spec"

describe("welcome", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/welcome", mode = "live" }
  end)

  local function register(user)
    host:event { type = "user.registered", user = user }
  end

  it("says hello by name", function()
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
    register "ada"
    assert.sent(host, { to = "ada", template = "hello", subject = "Welcome, Ada: your first cup is on us",
      text_has = "FIRSTCUP", times = 1 })
  end)

  it("says hello to somebody whose name it does not know", function()
    register "bob"
    assert.sent(host, { to = "bob", subject = "Welcome: your first cup is on us" })
  end)

  it("says it once, however often the shop reports it", function()
    register "ada"
    host:advance "1m"
    register "ada"
    host:advance "300d"
    register "ada"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "hello", by = "once_per", times = 2 })
  end)

  it("says nothing to somebody who has unsubscribed", function()
    host:event { type = "message.unsubscribed", user = "ada" }
    register "ada"
    assert.not_sent(host)
    assert.held_back(host, { to = "ada", by = "suppressed", because = "unsubscribed" })
  end)

  it("says it when the provider is back", function()
    host:provider { email = 503, times = 3 }
    register "ada"
    assert.not_sent(host)
    host:advance "10m"
    assert.sent(host, { to = "ada", template = "hello", times = 1 })
  end)
end)
