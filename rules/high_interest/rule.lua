-- Offer help to a shopper who looks at one product three times in ten minutes without buying.
local kairos = require "kairos"
local prices = require "shared.prices"

local views  = kairos.window { of = "product.viewed", by = "payload.sku", over = "10m" }
local orders = kairos.window { of = "order.completed", over = "10m" }

return kairos.rule {
  name = "high_interest",
  on   = "product.viewed",
  when = function(event, user)
    local product = event.payload
    return type(product.sku) == "string" and type(product.name) == "string"
      and user:count(views, product.sku) >= 3 and user:count(orders) == 0
  end,
  act  = function(event, user)
    local product = event.payload
    user:emit { type = "help.offered", payload = { sku = product.sku } } -- browse_abandoned lets go of it then
    user:send {
      channel = "email", template = "still_interested",
      data = { sku = product.sku, name = product.name, price = prices.show(product.price, product.currency) },
      purpose = "marketing", once_per = "7d", cap = "2/30d", expires_in = "1h",
    }
  end,
}
