-- After an order: once it has arrived, how to make the most of it (with the first order only); ten days later, at a weekend,
-- a request for a review, and to those with our app one more word if none came. Nothing is asked about what has not arrived as far
-- as we know, what was sent back, or what has a review already.
local kairos = require "kairos"

local orders = kairos.window { of = "order.completed", over = "365d" }

--- Those of an order's items that a review can be about.
local function reviewable(order)
  local items = {}
  for _, item in ipairs(type(order.items) == "table" and order.items or {}) do
    if type(item) == "table" and item.sku and item.name then
      items[#items + 1] = item
    end
  end
  return items
end

--- The event is about the journey's order.
local function of_this_order(event, journey)
  return event.payload.order_id == journey.key
end

return kairos.journey {
  name   = "post_purchase",
  start  = { on = "order.completed", when = function(event) return event.payload.order_id ~= nil end },
  key    = "payload.order_id",
  again  = "ignore",
  exit   = { on = { "order.cancelled", "order.returned", "review.submitted" }, where = of_this_order },
  goal   = { on = "review.submitted", where = of_this_order, within = "60d" },
  flight = "pin",
  run    = function(journey, user, event)
    local order = event.payload
    local first = user:count(orders) == 1

    if not journey:wait_for { on = "order.delivered", within = "21d", where = of_this_order } then
      return
    end
    if first then
      journey:wait_until("tomorrow 09:00", { late = "skip", late_after = "2d" })
      journey:send {
        channel = "email", template = "first_brew", data = { order_id = order.order_id },
        purpose = "marketing", once_per = "3650d", expires_in = "1d",
      }
    end

    journey:wait "10d"
    journey:wait_until("next weekend 10:00", { late = "exit", late_after = "14d" })
    local items = reviewable(order)
    if #items == 0 then
      return
    end
    journey:send {
      channel = "email", template = "review",
      data = { order_id = order.order_id, items = items, one = #items == 1 and items[1].name or nil },
      purpose = "marketing", cap = "1/30d", expires_in = "1d",
    }
    if user.push_token then
      journey:wait "5d"
      journey:wait_until("18:00", { late = "exit", late_after = "2d" })
      journey:send {
        channel = "push", template = "review_push", purpose = "marketing", once_per = "90d", expires_in = "3h",
      }
    end
  end,
}
