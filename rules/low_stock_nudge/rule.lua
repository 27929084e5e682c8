-- Tell a customer who keeps coming back to a product that few are left: there were plenty at the first look, now there are five or
-- fewer. An hour later, unless something was ordered meanwhile. Never about what is sold out.
local kairos = require "kairos"
local prices = require "shared.prices"

local FEW = 5

local looks  = kairos.window { of = "product.viewed", by = "payload.sku", over = "14d" }
local before = kairos.window { of = "product.viewed", by = "payload.sku", over = "14d", first = "payload.stock" }
local orders = kairos.window { of = "order.completed", over = "14d" }

return kairos.rule {
  name = "low_stock_nudge",
  on   = "product.viewed",
  when = function(event, user)
    local product = event.payload
    return type(product.name) == "string" and type(product.stock) == "number" and product.stock >= 1 and product.stock <= FEW
      and user:count(looks, product.sku) >= 2
      and (user:first(before, product.sku) or 0) > FEW
      and user:count(orders) == 0
  end,
  act  = function(event, user)
    local product = event.payload
    user:after("1h", {
      name       = "few_left",
      cancel_on  = "order.completed",
      late       = "skip",
      late_after = "6h",
      data       = {
        sku = product.sku, name = product.name, stock = product.stock, last_one = product.stock == 1,
        price = prices.show(product.price, product.currency),
      },
    })
  end,
  timers = {
    few_left = function(timer, user)
      user:send {
        channel = "email", template = "few_left", data = timer.data,
        purpose = "marketing", cap = "1/3d", once_per = "14d", expires_in = "6h",
      }
    end,
  },
}
