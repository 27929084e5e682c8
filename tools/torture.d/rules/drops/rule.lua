-- Tells everybody who has acted at a shelf that its prices dropped: drops.lua accounts for it.
local kairos = require "kairos"

local shoppers = kairos.interest { name = "shoppers", of = "acted", by = "payload.shelf", over = "1d" }

return kairos.rule {
  name     = "drops",
  on       = "dropped",
  for_each = function(event) return shoppers:of(event.payload.shelf) end,
  pace     = "60/s",
  act      = function(event, user)
    user:send { channel = "push", template = "dropped", data = { text = event.payload.number .. " " .. event.payload.shelf } }
  end,
}
