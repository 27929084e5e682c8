-- rules/birthday: a present at nine in the morning of the customer's birthday, where the customer lives.
local sim = require "kairos.spec"

describe("birthday", function()
  local host
  local function start(at)
    host = sim.host { rules = "rules/birthday", mode = "live", at = at }
  end
  local function profile(birthday, zone)
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example", birthday = birthday, time_zone = zone }
  end

  it("comes at nine, where the customer lives", function()
    start "2026-07-01 12:00 Europe/Berlin"
    profile("1990-07-14", "America/New_York")
    host:at "2026-07-14 08:59 America/New_York"
    assert.not_sent(host)
    host:at "2026-07-14 09:00 America/New_York"
    assert.sent(host, { to = "ada", template = "present", at = "2026-07-14 09:00 America/New_York", text_has = "MYDAY",
      subject = "Happy birthday, Ada: today's cake is on us" })
  end)

  it("comes every year, and on 28 February where there is no 29th", function()
    start "2026-01-01 12:00 UTC"
    profile("1992-02-29", "Europe/Berlin")
    for year = 2026, 2028 do
      host:at(("%d-03-02 00:00 UTC"):format(year))
    end
    assert.sent(host, 3)
    assert.sent(host, { at = "2026-02-28 09:00 Europe/Berlin", times = 1 })
    assert.sent(host, { at = "2027-02-28 09:00 Europe/Berlin", times = 1 })
    assert.sent(host, { at = "2028-02-29 09:00 Europe/Berlin", times = 1 })
  end)

  it("comes on the day itself to whom tells us before nine, else next year", function()
    start "2026-07-14 08:00 Europe/Berlin"
    profile("07-14", "Europe/Berlin")
    host:profile { user = "bob", birthday = "1980-07-14", time_zone = "Asia/Tokyo", email = "bob@mail.example" }
    host:advance "2d"
    assert.sent(host, { to = "ada" })
    assert.not_sent(host, { to = "bob" })
    host:at "2027-07-14 09:00 Asia/Tokyo"
    assert.sent(host, { to = "bob", subject = "Happy birthday: today's cake is on us" })
  end)

  it("moves with the customer", function()
    start "2026-07-01 12:00 UTC"
    profile("1990-07-14", "Europe/Berlin")
    host:profile { user = "ada", time_zone = "Australia/Lord_Howe" }
    host:at "2026-07-20 00:00 UTC"
    assert.sent(host, 1)
    assert.sent(host, { at = "2026-07-14 09:00 Australia/Lord_Howe" })
  end)

  it("comes once a year, however often the date is corrected", function()
    start "2026-07-01 12:00 UTC"
    profile "1990-07-14"
    host:at "2026-07-14 12:00 UTC"
    profile "1990-07-15"
    host:at "2026-07-16 12:00 UTC"
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", by = "once_per" })
  end)

  it("does not come without a date, or with one that is none", function()
    start "2026-01-01 12:00 UTC"
    profile(nil, "Europe/Berlin")
    profile("30 February", "Europe/Berlin")
    host:at "2026-12-31 12:00 UTC"
    assert.not_sent(host)
  end)

  it("does not come for a date that was taken back", function()
    start "2026-07-01 12:00 UTC"
    profile "1990-07-14"
    profile ""
    host:at "2026-07-20 12:00 UTC"
    assert.not_sent(host)
  end)

  it("does not come when it is too late: wishes on the day after, as after an outage", function()
    start "2026-07-14 23:00 Europe/Berlin"
    host:event { type = "identify", user = "ada", at = "2026-07-13 12:00 Europe/Berlin",
      payload = { email = "ada@mail.example", birthday = "1990-07-14", time_zone = "Europe/Berlin" } }
    host:advance "300d"
    assert.not_sent(host)
    host:at "2027-07-14 09:00 Europe/Berlin"
    assert.sent(host, { to = "ada", template = "present", times = 1 })
  end)
end)
