-- Write to somebody who has come back to a product within a week and put nothing into a cart: two hours after the last look, about
-- the product looked at last, once a week at most. A cart or an order ends it, and so does help that high_interest has offered.
local kairos = require "kairos"
local daytime = require "shared.daytime"
local prices = require "shared.prices"

local views  = kairos.window { of = "product.viewed", by = "payload.sku", over = "7d" }
local orders = kairos.window { of = "order.completed", over = "3d" }

return kairos.journey {
  name       = "browse_abandoned",
  start      = {
    on   = "product.viewed",
    when = function(event, user)
      local product = event.payload
      return type(product.sku) == "string" and type(product.name) == "string"
        and user:count(views, product.sku) >= 2 and user:count(orders) == 0
    end,
  },
  again      = "restart",
  exit       = { on = { "cart.updated", "order.completed", "help.offered" } },
  goal       = { on = "order.completed", within = "7d" },
  flight     = "pin",
  late       = "exit",
  late_after = "1d",
  run        = function(journey, user, event)
    local product = event.payload
    journey:wait "2h"
    daytime.wait(journey, user)
    local push = not user.email and user.push_token
    journey:send {
      channel = push and "push" or "email", template = push and "had_a_look_push" or "had_a_look",
      data = { sku = product.sku, name = product.name, price = prices.show(product.price, product.currency) },
      purpose = "marketing", cap = "1/7d", expires_in = "12h",
    }
  end,
}
