-- The campaign as somebody has rewritten it while customers are in the middle of it: other waits, other words, no second message.
-- For spec/rules/cart_abandoned_spec.lua.
local kairos = require "kairos"

return kairos.journey {
  name  = "cart_abandoned",
  start = { on = "cart.updated", when = function(event) return event.payload.total > 0 end },
  key   = "payload.cart_id",
  again = "restart",
  exit  = { on = "order.completed" },
  run   = function(journey)
    journey:wait "10m"
    journey:send { channel = "email", template = "reminder", purpose = "marketing", once_per = "1d", expires_in = "6h" }
  end,
}
