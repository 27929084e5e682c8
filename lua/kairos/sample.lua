--- Shares of the users, and choices among them.
--
-- Who is in follows from a hash of the name you give and the user's id: the same user gets the same answer each time, on each
-- host and in each replay; two names are independent of each other. Nothing is stored. Pure.

local check = require "kairos.check"
local core = require "kairos.core"

local describe = check.describe

---@class kairos.sample
local sample = {}

local function check_who(user, name, what)
  if type(user) ~= "userdata" then
    core.fail(what .. ": the first value must be `user`, not " .. describe(user))
  elseif type(name) ~= "string" or name == "" or #name > 256 then
    core.fail(what .. ': the second value must name what is decided, such as "rescue_offer", not ' .. describe(name))
  end
  return user.id
end

--- A share as a number from 0 to 1.
local function share_of(value, what)
  local percent = value
  if type(value) == "string" then
    percent = tonumber(value:match "^(%d+%.?%d*)%%$")
  end
  if type(percent) ~= "number" or not (percent >= 0 and percent <= 100) then
    core.fail(what .. ': the share must be from "0%" to "100%", such as "25%", not ' .. describe(value))
  end
  return percent / 100
end

--- Whether a user is among a share of all: sample.share(user, "rescue_offer", "25%"). Who is in at 25 % is in at 30 % too.
---@param user kairos.User
---@param name string  what is decided
---@param percent string|number  "25%"
---@return boolean
function sample.share(user, name, percent)
  local share = share_of(percent, "kairos.sample.share")
  local id = check_who(user, name, "kairos.sample.share")
  return core.hash(name, id) < share
end

--- One of several, by weight: sample.pick(user, "offer", { free_shipping = 2, ten_percent = 1 }). A user keeps it; when weights
--- change, only as many users change as must (rendezvous hashing with weights: Thaler and Ravishankar 1998, Schindelhauer and
--- Schomaker 2005). Which share that is may be told in any unit: 50 and 50 are 1 and 1.
---@param user kairos.User
---@param name string  what is decided
---@param weights table<string, number>
---@return string
function sample.pick(user, name, weights)
  local what = "kairos.sample.pick"
  local id = check_who(user, name, what)
  if type(weights) ~= "table" then
    core.fail(what .. ": write the choices with their weights: { free_shipping = 50, ten_percent = 50 }, not " .. describe(weights))
  end
  local best, least
  for choice, weight in pairs(weights) do
    core.charge(1)
    if type(choice) ~= "string" or type(weight) ~= "number" or not (weight >= 0 and weight < 1e9) then
      core.fail(what .. ": write each choice with its weight, such as free_shipping = 50, not " .. describe(choice) .. " = "
        .. describe(weight))
    end
    if weight > 0 then
      -- The first of exponential arrivals at these rates is each one with a probability like its weight.
      local arrival = -math.log(1 - core.hash(name .. "\0" .. choice, id)) / weight
      if not least or arrival < least then
        best, least = choice, arrival
      end
    end
  end
  if not best then
    core.fail(what .. ": there is nothing to pick from: no choice has a weight above 0")
  end
  return best
end

--- True for a share of the events rather than of the users: by the same dice as math.random, which follow from the event.
---@param percent string|number  "5%"
---@return boolean
function sample.chance(percent)
  return math.random() < share_of(percent, "kairos.sample.chance")
end

return sample
