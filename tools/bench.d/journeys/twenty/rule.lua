-- Twenty-one steps: ten times a count and an hour's wait, and a last wait.
local kairos = require "kairos"

local trips = kairos.window { of = "trip.begun", over = "30d" }

return kairos.journey {
  name  = "twenty",
  start = { on = "trip.begun" },
  run   = function(journey, user)
    local seen = 0
    for _ = 1, 10 do
      seen = seen + user:count(trips)
      journey:wait "1h"
    end
    journey:wait(seen > 0 and "10d" or "20d")
  end,
}
