-- Write to a customer 60 days after an order that no other followed, and three weeks later with a bag on the house. Who has not
-- come back by day 120 is asked whether we shall go on writing, and taken at his word: no click within two weeks is a no, and he
-- counts as asleep (attribute `asleep`): price_drop lets him be. Every order wakes him, and begins all of it anew.
local kairos = require "kairos"
local clicks = require "shared.clicks"

return kairos.journey {
  name   = "win_back",
  start  = { on = "order.completed" },
  again  = "restart",
  goal   = { on = "order.completed", within = "180d" },
  flight = "pin",
  run    = function(journey, user)
    if user.asleep then
      journey:set("asleep", nil)
    end
    journey:wait("60d", { late = "exit", late_after = "30d" })
    journey:send {
      channel = "email", template = "miss_you", purpose = "marketing", once_per = "60d", expires_in = "7d",
    }

    journey:wait "21d"
    journey:wait_until("next weekday 10:00", { late = "skip", late_after = "14d" })
    journey:send {
      channel = "email", template = "offer", purpose = "marketing", once_per = "180d", expires_in = "3d",
    }

    journey:wait "39d"
    local asked = kairos.now()
    journey:send {
      channel = "email", template = "last_word", purpose = "marketing", once_per = "180d", expires_in = "7d",
    }
    local stay = journey:wait_for {
      on = "message.clicked", within = "14d",
      where = function(clicked) return clicks.by_person(clicked, "win_back", asked) end,
    }
    if not stay then
      journey:set("asleep", true)
    end
  end,
}
