-- Remind of a cart that nobody has touched for an hour, by day. Whoever does not click within a day gets a reason, at ten in the
-- morning where he lives: free shipping or 10 %, half of the customers each. A change of the cart starts the hour anew; its order,
-- or emptying it, ends all of it at once. What comes due a day too late (the host was down) does not go.
local kairos = require "kairos"
local clicks = require "shared.clicks"
local daytime = require "shared.daytime"
local prices = require "shared.prices"

return kairos.journey {
  name       = "cart_abandoned",
  start      = {
    on   = "cart.updated",
    when = function(event)
      local total = event.payload.total
      return type(total) == "number" and total > 0
    end,
  },
  key        = "payload.cart_id",
  again      = "restart",
  exit       = {
    {
      on    = "order.completed",
      where = function(event, journey)
        local cart_id = event.payload.cart_id
        return cart_id == nil or cart_id == journey.key -- some shops do not say which cart was bought
      end,
    },
    {
      on    = "cart.updated",
      where = function(event, journey)
        return event.payload.cart_id == journey.key and event.payload.total == 0
      end,
    },
  },
  goal       = { on = "order.completed", within = "3d" },
  flight     = "pin",
  late       = "exit",
  late_after = "1d",
  run        = function(journey, user, event)
    local cart = event.payload
    local data = { items = cart.items, total = prices.show(cart.total, cart.currency) }

    journey:wait "1h"
    daytime.wait(journey, user)
    local reminded = kairos.now()
    local app = not user.email and user.push_token ~= nil
    local sent = journey:send {
      channel = app and "push" or "email", template = app and "reminder_push" or "reminder", data = data,
      purpose = "marketing", once_per = "1d", cap = "3/7d", expires_in = "6h",
    }
    if not sent then
      return -- the gate said no: there is nothing to come back to
    end

    local click = journey:wait_for {
      on = "message.clicked", within = "1d",
      where = function(clicked) return clicks.by_person(clicked, "cart_abandoned", reminded) end,
    }
    if click then
      return -- who has looked at the cart again needs no reason to look
    end

    journey:wait_until "10:00"
    local offer = journey:split { name = "rescue_offer", free_shipping = 50, ten_percent = 50 }
    local push = user.push_token ~= nil
    journey:send {
      channel = push and "push" or "email", template = push and offer .. "_push" or offer, data = data,
      purpose = "marketing", once_per = "90d", cap = "3/7d", expires_in = "12h", -- nobody shall learn to wait for it
    }
  end,
}
