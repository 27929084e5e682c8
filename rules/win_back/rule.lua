-- Write to a customer 60 days after an order if no other followed.
local kairos = require "kairos"

return kairos.rule {
  name = "win_back",
  on   = "order.completed",
  act  = function(_, user)
    -- An order within the 60 days cancels the timer of the one before, and sets its own.
    user:after("60d", { name = "no_order_since", cancel_on = "order.completed" })
  end,
  timers = {
    no_order_since = function(_, user)
      user:send { channel = "email", template = "miss_you", purpose = "marketing", once_per = "60d" }
    end,
  },
}
