-- Messages by day, where the customer lives. A journey that waits for the morning itself asks then how things stand, and counts
-- its next waits from there; a message that the gate defers for quiet hours is what was decided in the evening.
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
