--- Throttles: at most so often for one user.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "name", "name", '"offers"', required = true },
  { "rate", "rate", '"5/1h"', required = true },
  { "burst", "count", "1" },
}

---@class kairos.ThrottleSpec
---@field name kairos.Name  within the campaign; a throttle declared in rules/shared is shared by the campaigns that require it
---@field rate kairos.Rate  "5/1h": how many in how long
---@field burst? number  how many at once; the rate's number unless given

--- A throttle (GCRA), asked and used up by user:allow.
---@param spec kairos.ThrottleSpec
---@return kairos.Throttle
return function(spec)
  local fields = check.fields("kairos.throttle", spec, schema)
  return core.throttle(fields.name, fields.rate, fields.burst)
end
