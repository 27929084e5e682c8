-- Thank a customer for the third order within 90 days. Once in a customer's life.
local kairos = require "kairos"

local orders = kairos.window { of = "order.completed", over = "90d" }

return kairos.rule {
  name = "third_order",
  on   = "order.completed",
  when = function(_, user)
    return user:count(orders) >= 3
  end,
  act  = function(_, user)
    user:send { channel = "email", template = "thank_you", purpose = "marketing", once_per = "3650d" }
  end,
}
