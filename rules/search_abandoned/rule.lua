-- Write to somebody who has searched and then looked at nothing, an hour later: what there is to find, or, where the shop had
-- nothing to show, an offer to look for it. Once a week at most. A product, a cart or an order ends it.
local kairos = require "kairos"
local daytime = require "shared.daytime"

local text = kairos.text

--- As it may stand in a link.
local function in_link(words)
  return (words:gsub("[^%w]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

return kairos.journey {
  name       = "search_abandoned",
  start      = {
    on   = "search.performed",
    when = function(event)
      local search = event.payload
      return type(search.query) == "string" and text.length(text.trim(search.query)) >= 3 and type(search.results) == "number"
    end,
  },
  again      = "restart",
  exit       = { on = { "product.viewed", "cart.updated", "order.completed" } },
  goal       = { on = "order.completed", within = "7d" },
  flight     = "pin",
  late       = "exit",
  late_after = "12h",
  run        = function(journey, user, event)
    local search = event.payload
    local query = text.truncate(text.trim(search.query), 40)
    journey:wait "1h"
    daytime.wait(journey, user)
    journey:send {
      channel = "email", template = search.results > 0 and "found" or "not_found",
      data = { query = query, query_in_link = in_link(query), results = search.results, one = search.results == 1 },
      purpose = "marketing", cap = "1/7d", expires_in = "12h",
    }
  end,
}
