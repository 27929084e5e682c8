-- Notice when a regular customer (three orders in 90 days) has been one no longer for a week, and ask what has changed: before
-- win_back, which is for those who have not ordered for 60 days. An order that makes him a regular again ends it. Twice a year at
-- most. The segment `regulars` is there for other campaigns as well.
local kairos = require "kairos"
local segment = kairos.segment

local season = kairos.window { of = "order.completed", over = "90d" }
local lately = kairos.window { of = "order.completed", over = "60d" }

return {
  segment {
    name   = "regulars",
    member = function(user)
      return user:count(season) >= 3
    end,
  },
  kairos.journey {
    name       = "regulars_slipping",
    start      = { on = segment.left "regulars" },
    again      = "ignore",
    exit       = { on = segment.entered "regulars" },
    goal       = { on = segment.entered "regulars", within = "60d" },
    late       = "exit",
    late_after = "7d",
    run        = function(journey, user)
      journey:wait "7d" -- who orders every 30 days leaves for a moment each time
      journey:wait_until "next weekday 10:00"
      if user:count(lately) >= 1 then
        journey:send {
          channel = "email", template = "what_has_changed", purpose = "marketing", once_per = "180d", expires_in = "2d",
        }
      end
    end,
  },
}
