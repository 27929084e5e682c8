-- Offer help to a shopper who looks at one product three times in ten minutes without buying.
local kairos = require "kairos"

local views  = kairos.window { of = "product.viewed", by = "payload.sku", over = "10m" }
local orders = kairos.window { of = "order.completed", over = "10m" }

return kairos.rule {
  name = "high_interest",
  on   = "product.viewed",
  when = function(event, user)
    local sku = event.payload.sku
    return type(sku) == "string" and user:count(views, sku) >= 3 and user:count(orders) == 0
  end,
  act  = function(event, user)
    user:emit { type = "help.offered", payload = { sku = event.payload.sku } } -- browse_abandoned lets go of it then
    user:send {
      channel = "email", template = "still_interested", data = event.payload,
      purpose = "marketing", once_per = "7d", cap = "2/30d", expires_in = "1h",
    }
  end,
}
