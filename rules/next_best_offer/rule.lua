-- Three weeks after an order, on a weekday at five, one thing that suits the customer: a grinder to those who have looked at
-- grinders, a tasting set to those who have a subscription, a subscription to those who order again and again, and to the others
-- whichever of the two turns out to sell better. Once a month at most; an order starts the three weeks anew.
local kairos = require "kairos"

local looks  = kairos.window { of = "product.viewed", by = "payload.category", over = "30d" }
local orders = kairos.window { of = "order.completed", over = "90d" }

-- Of two things, that which brings more orders is offered more and more.
local offers = kairos.experiment {
  name = "next_best_offer", variants = { "tasting_set", "subscription" }, choose = "thompson",
  goal = { on = "order.completed", within = "7d" },
}

--- What the customer's own doings say, or nil.
local function told_by_habits(user)
  if user:count(looks, "grinders") >= 2 then
    return "grinder"
  elseif user.subscriber then
    return "tasting_set"
  elseif user:count(orders) >= 3 then
    return "subscription"
  end
end

return kairos.journey {
  name   = "next_best_offer",
  start  = { on = "order.completed" },
  again  = "restart",
  goal   = { on = "order.completed", within = "30d" },
  flight = "pin",
  run    = function(journey, user)
    journey:wait "21d"
    journey:wait_until("next weekday 17:00", { late = "exit", late_after = "2d" })
    journey:send {
      channel = "email", template = told_by_habits(user) or user:variant(offers),
      purpose = "marketing", cap = "1/30d", expires_in = "1d",
    }
  end,
}
