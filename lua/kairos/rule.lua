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
---@field name? kairos.Name  what it is called in `kairos why`; the folder's name unless given
---@field on kairos.EventType|kairos.EventType[]  the event types it wants
---@field when? fun(event: kairos.Event, user: kairos.User): any  whether it acts; it always does without one
---@field act fun(event: kairos.Event, user: kairos.User)  what it does
---@field timers? table<string, fun(timer: kairos.Timer, user: kairos.User)>  what it does when one of its timers is due

--- A rule. A rule file ends with `return kairos.rule { … }`, or with a list of rules.
---@param spec kairos.RuleSpec
---@return kairos.Rule
return function(spec)
  local fields = check.fields("kairos.rule", spec, schema)
  -- Copies: the file may change its tables after this, and the host goes by what was checked.
  local types, timers, timer_names = {}, {}, {}
  if type(fields.on) == "table" then
    for i, event_type in ipairs(fields.on) do
      types[i] = event_type
    end
  else
    types[1] = fields.on
  end
  for name, handler in pairs(fields.timers or {}) do
    timers[name] = handler
    timer_names[#timer_names + 1] = name
  end
  return core.rule {
    name = fields.name,
    on = types,
    when = fields.when,
    act = fields.act,
    timers = timers,
    timer_names = timer_names,
  }
end
