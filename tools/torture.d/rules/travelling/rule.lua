-- Three messages on the way, whatever becomes of host and source meanwhile. Each says which source it was: the author changes
-- that, and how newer source takes over journeys under way (author.lua); travels.lua accounts for them.
local kairos = require "kairos"

local source = "pin-0"
local flights = {
  pin = "pin",
  adopt = "adopt",
  migrate = function(journey, history)
    local stage = journey.state and journey.state.stage or 0
    for _, step in ipairs(history) do
      if step.op == "send" then stage = stage + 1 end
    end
    return { stage = stage }
  end,
}

return kairos.journey {
  name   = "travelling",
  start  = { on = "acted", when = function(event) return event.payload.trip end },
  key    = "payload.trip",
  flight = flights[source:match "%a+"],
  run    = function(journey, _, event)
    local stage = journey.state and journey.state.stage or 0
    local function tell(text)
      journey:send { channel = "push", template = "trip", data = { text = event.payload.trip .. " " .. text .. " " .. source } }
    end
    if stage < 1 then
      tell "leaves"
      journey:wait(event.payload.sleeps)
    end
    local called
    if stage < 2 then
      tell "travels"
      called = journey:wait_for { on = "calmed", within = event.payload.listens }
    end
    tell(called and "turns" or "arrives")
  end,
}
