--- Rules: react to events at once.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "name", "name", '"high_interest"' },
  { "on", "types", '"product.viewed"', required = true },
  { "when", "function", "function(event, user) return true end" },
  { "act", "function", "function(event, user) … end", required = true },
  { "timers", "functions", "{ reminder = function(timer, user) … end }" },
}

---@class kairos.RuleSpec
---@field name? string  what it is called in `kairos why`; the folder's name unless given
---@field on string|string[]  the event types it wants
---@field when? fun(event: kairos.Event, user: kairos.User): any  whether it acts; it always does without one
---@field act fun(event: kairos.Event, user: kairos.User)  what it does
---@field timers? table<string, fun(timer: kairos.Timer, user: kairos.User)>  what it does when one of its timers is due

--- A rule. A rule file ends with `return kairos.rule { … }`, or with a list of rules.
---@param spec kairos.RuleSpec
---@return kairos.Rule
return function(spec)
  check.fields("kairos.rule", spec, schema)
  local timer_names = {}
  for name in pairs(spec.timers or {}) do
    timer_names[#timer_names + 1] = name
  end
  return core.rule {
    name = spec.name,
    on = type(spec.on) == "table" and spec.on or { spec.on },
    when = spec.when,
    act = spec.act,
    timers = spec.timers or {},
    timer_names = timer_names,
  }
end
