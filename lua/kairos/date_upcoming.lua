--- When a moment to come is, as people say it (date_phrase.lua), for somebody in a zone.

local check = require "kairos.check"
local core = require "kairos.core"
local phrase = require "kairos.date_phrase"

local describe = check.describe

--- See date.upcoming, which is this with the library's own functions before it.
---@param date kairos.date
---@param zone_name fun(zone: any, what: string): string?
---@param text any
---@param now any
---@param zone any
---@param what string  who asks, for errors
---@return number
return function(date, zone_name, text, now, zone, what)
  local name = zone_name(zone, what)
  now = now == nil and core.now() or now
  if type(now) ~= "number" or now ~= now then
    core.fail(what .. ": the moment from which to look must be milliseconds since 1970, such as kairos.now(), not "
      .. describe(now))
  elseif type(text) ~= "string" or #text > 128 then
    core.fail(what .. ": write when in words, " .. phrase.EXAMPLES .. ", not " .. describe(text))
  end
  local read, why, instead = phrase.read(text, core.nearest)
  if not read then
    core.fail(("%s: %s %s%s"):format(what, describe(text), why, instead and '; did you mean "' .. instead .. '"?' or ""))
  elseif read.moment then
    local moment, no_moment = core.parse_moment(read.moment, name)
    return moment or core.fail(what .. ": " .. no_moment)
  elseif read.zone then
    name, why = core.zone(read.zone)
    if not name then
      core.fail(what .. ": " .. why)
    end
  end
  if read.day then
    return date.next(read.day .. " " .. read.time, name, now)
  end
  -- A moment before the day begins, every time of it is still to come; but where clocks go back over midnight, it begins twice.
  local start = date.start_of(date.add(now, read.later, name), "day", name)
  return date.next(read.time, name, math.max(start - 1, now))
end
