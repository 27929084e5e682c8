-- Welcome somebody who has just registered: hello and a code at once, how to brew two days later, the code once more after a week.
-- Once in a customer's life, however often the shop reports it; the first order ends it, and post_purchase goes on.
local kairos = require "kairos"

return kairos.journey {
  name   = "welcome",
  start  = { on = "user.registered", when = function(_, user) return not user.welcomed end },
  again  = "ignore",
  exit   = { on = "order.completed" },
  goal   = { on = "order.completed", within = "30d" },
  flight = "pin",
  run    = function(journey)
    journey:set("welcomed", true)
    journey:send {
      channel = "email", template = "hello", purpose = "marketing", once_per = "3650d", expires_in = "1d",
    }
    journey:wait "2d"
    journey:wait_until("next weekday 10:00", { late = "skip", late_after = "3d" })
    journey:send {
      channel = "email", template = "brewing", purpose = "marketing", once_per = "3650d", expires_in = "1d",
    }
    journey:wait "4d"
    journey:wait_until("next weekday 18:00", { late = "exit", late_after = "7d" })
    journey:send {
      channel = "email", template = "first_cup", purpose = "marketing", once_per = "3650d", expires_in = "1d",
    }
  end,
}
