-- The measured rule: a shopper's third cart in ten minutes, worth more than 40. `sent`, where the load gives it, is when the
-- event was due, for a provider that measures how long its message took.
local kairos = require "kairos"

local carts = kairos.window { of = "cart.updated", over = "10m" }

return kairos.rule {
  name = "reference",
  on   = "cart.updated",
  when = function(event, user)
    return user:count(carts) >= 3 and event.payload.total > 40
  end,
  act  = function(event, user)
    user:send { channel = "webhook", template = "cart", data = { total = event.payload.total, sent = event.payload.sent } }
  end,
}
