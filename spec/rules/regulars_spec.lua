-- rules/regulars: a word to a regular customer who is one no longer.
local sim = require "kairos.spec"

describe("regulars", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/regulars", mode = "live", at = "2026-03-01 10:00 Europe/Berlin" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", time_zone = "Europe/Berlin" }
  end)

  local function order() host:event { type = "order.completed", user = "ada" } end

  it("asks a week later what has changed", function()
    order()
    host:advance "30d"
    order()
    host:advance "30d"
    order()
    host:advance "29d"
    host:advance "23h"
    host:advance "59m"
    assert.truthy(host:user("ada").segments.regulars)
    host:advance "1m" -- the first of the three is 90 days old: 30 May, 11:00 of summer time
    assert.is_nil(host:user("ada").segments.regulars)
    host:at "2026-06-08 09:59 Europe/Berlin"
    assert.not_sent(host)
    host:at "2026-06-08 10:00 Europe/Berlin"
    assert.sent(host, { to = "ada", template = "what_has_changed", subject = "Is it us, Ada?", times = 1 })
  end)

  it("says nothing while somebody goes on ordering, though he leaves for a moment each time", function()
    for _ = 1, 12 do
      order()
      host:advance "30d"
    end
    assert.not_sent(host)
    assert.why(host, { to = "ada", campaign = "regulars_slipping", decision = "none" })
  end)

  it("says nothing to whom was never regular, and leaves those to win_back who have long been gone", function()
    host:event { type = "order.completed", user = "bob" }
    for _ = 1, 3 do order() end
    host:advance "365d"
    assert.not_sent(host)
  end)

  it("asks twice a year at most", function()
    local function season()
      for _ = 1, 3 do
        order()
        host:advance "20d"
      end
      host:advance "50d"
    end
    season()
    assert.sent(host, 1)
    season()
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "once_per" })
    host:advance "60d"
    season()
    assert.sent(host, 2)
  end)
end)
