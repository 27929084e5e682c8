-- Messages by day, where the customer lives. A message that the gate defers for quiet hours goes at their end, whatever has
-- happened meanwhile; a journey that waits for the morning is still ended by what ends it.
local kairos = require "kairos"

local date = kairos.date

local daytime = {}

--- Between 21:00 and 08:00: go on at 08:00.
---@param journey kairos.Journey
---@param user kairos.User
function daytime.wait(journey, user)
  if not date.is_open(kairos.now(), "daily 08:00-21:00", user) then
    journey:wait_until "08:00"
  end
end

return daytime
