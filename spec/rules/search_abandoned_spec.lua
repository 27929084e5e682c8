-- rules/search_abandoned: an answer to a search that led to nothing.
local sim = require "kairos.spec"

describe("search_abandoned", function()
  local host
  before_each(function()
    host = sim.host { rules = "rules/search_abandoned", mode = "live" }
    host:profile { user = "ada", first_name = "Ada", email = "ada@mail.example" }
  end)

  local function search(query, results)
    host:event { type = "search.performed", user = "ada", payload = { query = query, results = results } }
  end

  it("tells an hour later what there is", function()
    search("cold brew & ice", 4)
    host:advance "59m"
    assert.not_sent(host)
    host:advance "1m"
    assert.sent(host, { to = "ada", template = "found", subject = "You were looking for “cold brew & ice”",
      html_has = "search?q=cold%20brew%20%26%20ice", text_has = "There are 4 things" })
  end)

  it("knows one from many", function()
    search("moka pot", 1)
    host:advance "1h"
    assert.sent(host, { text_has = "There is one thing" })
  end)

  it("offers to look for what is not there", function()
    search("vacuum pot", 0)
    host:advance "1h"
    assert.sent(host, { template = "not_found", subject = "“vacuum pot”: not here yet" })
  end)

  it("answers the last of several searches, once", function()
    search("kettel", 0)
    host:advance "1m"
    search("kettle", 5)
    host:advance "3h"
    assert.sent(host, { template = "found", data = { query = "kettle" }, times = 1 })
    assert.sent(host, 1)
  end)

  it("has nothing to say to whom has found something", function()
    for _, name in ipairs { "product.viewed", "cart.updated", "order.completed" } do
      search("kettle", 5)
      host:event { type = name, user = "ada" }
      host:advance "2h"
    end
    assert.not_sent(host)
  end)

  it("repeats no markup, no novel and no slip of the key", function()
    search("  <b>" .. ("grinder "):rep(20), 0)
    host:advance "1h"
    assert.sent(host, { html_has = "&lt;b&gt;grinder" })
    assert.is_true(#host:sent()[1].data.query < 50)
    host:advance "8d"
    search("x", 3)
    search(nil, 3)
    search("kettle", nil)
    host:advance "2h"
    assert.sent(host, 1)
  end)

  it("writes once a week", function()
    for _ = 1, 3 do
      search("kettle", 5)
      host:advance "1d"
    end
    assert.sent(host, 1)
    assert.held_back(host, { to = "ada", template = "found", by = "cap", times = 2 })
  end)

  it("waits for the morning, where the customer lives", function()
    host:profile { user = "ada", time_zone = "Europe/Berlin" }
    host:at "2026-06-01 20:30 Europe/Berlin"
    search("moka pot", 0)
    host:advance "2d"
    assert.sent(host, { to = "ada", at = "2026-06-02 08:00 Europe/Berlin", times = 1 })
    assert.not_sent(host, { text_has = "today" })
  end)
end)
