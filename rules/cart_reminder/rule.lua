-- Remind of a cart that nobody has touched for an hour. A change starts the hour anew, an order ends it, and so does
-- an empty cart. A reminder that would come a day too late (the host was down) is not sent at all.
local kairos = require "kairos"

return kairos.rule {
  name = "cart_reminder",
  on   = "cart.updated",
  act  = function(event, user)
    if event.payload.total > 0 then
      user:after("1h", {
        name       = "still_waiting",
        data       = event.payload,
        cancel_on  = "order.completed",
        late       = "skip",
        late_after = "1d",
      })
    else
      user:cancel "still_waiting"
    end
  end,
  timers = {
    still_waiting = function(timer, user)
      user:send {
        channel    = "email",
        template   = "reminder",
        purpose    = "marketing",
        data       = timer.data,
        once_per   = "1d",
        cap        = "2/7d",
        expires_in = "6h",
      }
    end,
  },
}
