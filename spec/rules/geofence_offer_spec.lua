-- rules/geofence_offer: an espresso for a euro to whom walks by an open café.
local sim = require "kairos.spec"

describe("geofence_offer", function()
  local host
  local function start(at)
    host = sim.host { rules = "rules/geofence_offer", mode = "live", at = at }
    host:profile { user = "ada", push_token = "token-1" }
  end
  local function walk(lat, lon)
    host:event { type = "location.updated", user = "ada", payload = { lat = lat, lon = lon } }
  end

  it("offers it near the door", function()
    start "2026-11-27 08:00 Europe/Berlin"
    walk(52.5330, 13.4013) -- some 400 metres away
    assert.not_sent(host)
    walk(52.5310, 13.4020)
    assert.sent(host, { to = "ada", template = "nearby", text_has = "our café Torstraße", times = 1 })
  end)

  it("offers it in the market hall, and not beside it", function()
    start "2026-11-27 12:00 Europe/Berlin"
    walk(52.5009, 13.4330)
    assert.not_sent(host)
    walk(52.5017, 13.4325)
    assert.sent(host, { data = { cafe = "the market hall", price = "1,00\194\160€" } })
  end)

  it("knows when each is open", function()
    start "2026-11-27 07:29 Europe/Berlin"
    walk(52.5296, 13.4013)
    assert.not_sent(host)
    host:advance "1m"
    walk(52.5296, 13.4013)
    assert.sent(host, 1)
    start "2026-11-29 12:00 Europe/Berlin" -- a Sunday
    walk(52.5017, 13.4325)
    assert.not_sent(host)
    walk(52.5296, 13.4013)
    assert.sent(host, 1)
  end)

  it("offers it once a week", function()
    start "2026-11-23 10:00 Europe/Berlin"
    for _ = 1, 7 do
      walk(52.5296, 13.4013)
      host:advance "1d"
    end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "nearby", by = "cap", times = 6 })
    walk(52.5296, 13.4013)
    assert.sent(host, 2)
  end)

  it("goes by the café's clock on the night of the switch", function()
    start "2026-10-25 09:30 Europe/Berlin" -- 08:30 UTC; the day before it was 07:30
    walk(52.5296, 13.4013)
    assert.sent(host, 1)
  end)

  it("has no idea where somebody without coordinates is", function()
    start "2026-11-27 12:00 Europe/Berlin"
    walk(nil, nil)
    walk(1000, 13)
    host:event { type = "location.updated", user = "ada", payload = { lat = "52.5296", lon = "13.4013" } }
    assert.not_sent(host)
  end)
end)
