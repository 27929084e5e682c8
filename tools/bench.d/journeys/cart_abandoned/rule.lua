-- A cart is left behind: reminded after an hour, and, if nobody clicks for a day, offered something.
local kairos = require "kairos"

return kairos.journey {
  name  = "cart_abandoned",
  start = { on = "cart.updated", when = function(event) return event.payload.total > 0 end },
  key   = "payload.cart_id",
  again = "restart",
  exit  = { on = "order.completed", where = function(event, journey) return event.payload.cart_id == journey.key end },
  run   = function(journey)
    journey:wait "1h"
    journey:send { channel = "push", template = "reminder", to = "phone", expires_in = "6h" }
    local click = journey:wait_for { on = "message.clicked", within = "1d" }
    if not click then
      local offer = journey:split { name = "rescue_offer", free_shipping = 50, ten_percent = 50 }
      journey:send { channel = "push", template = offer, to = "phone" }
    end
  end,
}
