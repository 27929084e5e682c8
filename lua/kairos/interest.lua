--- Interests: who did something with a thing lately, so that an event about the thing finds them.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "name", "name", '"sku_watchers"', required = true },
  { "of", "types", '{ "product.viewed", "product.favourited" }', required = true },
  { "by", "path", '"payload.sku"' },
  { "over", "duration", '"30d"', required = true },
}

---@class kairos.InterestSpec
---@field name kairos.Name  what it is called; declared in rules/shared, or alike in several campaigns, it is one interest
---@field of kairos.EventType|kairos.EventType[]  the events by which a user shows it
---@field by? kairos.Path  in what: "payload.sku"; without it everybody who had such an event is in it
---@field over kairos.Duration  for how long after the last of them: "30d"

--- An interest, for a rule's `for_each`: `for_each = function(event) return watchers:of(event.payload.sku) end`. A new one is
--- filled with what the event log holds before the rule serves.
---@param spec kairos.InterestSpec
---@return kairos.Interest
return function(spec)
  local fields = check.fields("kairos.interest", spec, schema)
  return core.interest {
    name = fields.name,
    of = check.list(fields.of),
    by = fields.by and fields.by:sub(#"payload." + 1),
    over = core.duration(fields.over),
    label = fields.over,
  }
end
