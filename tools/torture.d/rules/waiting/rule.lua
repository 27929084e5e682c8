-- Says what a look-up gave it: once for each event that asks for one, whatever becomes of host and server meanwhile.
local kairos = require "kairos"

return kairos.rule {
  name = "waiting",
  on = "acted",
  needs = {
    stock = kairos.needs { from = "shop", path = "/stock/{{payload.waits}}", timeout = "500ms", cache = "200ms",
      fallback = { left = -1 } },
  },
  when = function(event) return event.payload.waits end,
  act = function(event, user, needs)
    user:send { channel = "push", template = "waited", data = { text = event.payload.number .. " " .. needs.stock.left } }
  end,
}
