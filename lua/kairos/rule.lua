--- Rules: react to events at once.

local campaign = require "kairos.campaign"
local check = require "kairos.check"
local core = require "kairos.core"

local schema = campaign.schema({
  { "name", "name", '"high_interest"' },
  { "on", "types", '"product.viewed"', required = true },
  { "when", "function", "function(event, user) return true end" },
  { "act", "function", "function(event, user) … end", required = true },
  { "needs", "needs", '{ stock = kairos.needs { from = "shop", … } }' },
  { "needs_if", "function", "function(event, user) return true end" },
  { "for_each", "audience", "function(event) return watchers:of(event.payload.sku) end" },
  { "pace", "rate", '"500/s"' },
  { "expires_in", "duration", '"6h"' },
  { "timers", "functions", "{ reminder = function(timer, user) … end }" },
}, "goal")

---@class kairos.RuleSpec
---@field name? kairos.Name  what it is called in `kairos why`; the folder's name unless given
---@field on kairos.EventType|kairos.EventType[]  the event types it wants
---@field needs? table<string, kairos.Need>  look-ups made before `when` and `act` run; what came of them is their third argument
---@field needs_if? fun(event: kairos.Event, user: kairos.User): any  whether to ask; the rule does not run otherwise
---@field when? fun(event: kairos.Event, user: kairos.User, needs?: kairos.Needs): any  whether it acts; it always does without one
---@field act fun(event: kairos.Event, user: kairos.User, needs?: kairos.Needs)  what it does
---@field for_each? (fun(event: kairos.Event): kairos.Audience?)|kairos.Audience  a fan-out: `when` and `act` run for each of them
---@field pace? kairos.Rate  how many of them: "500/s"; the configuration's fan_out.pace unless given
---@field expires_in? kairos.Duration  then nobody more is reached: "6h"; the configuration's fan_out.expires_in unless given
---@field timers? table<string, fun(timer: kairos.Timer, user: kairos.User)>  what it does when one of its timers is due
---@field rollout? kairos.Share  for which share of the users: "25%"; who is in stays in while it grows
---@field mode? "live"|"shadow"|"paused"  a shadow runs, and nothing of it is sent or seen by other campaigns
---@field starts? kairos.Moment  not before: "2026-11-27 09:00 Europe/Berlin"; without a zone, the configuration's time_zone
---@field ends? kairos.Moment  no longer from then on
---@field hours? kairos.Hours  "mon-fri 09:00-18:00 Europe/Berlin"; without a zone the user's own; timers wait for the opening
---@field priority? number  of the campaigns that want an event the higher run first; 0 unless given
---@field competes? kairos.Name  of the campaigns that compete for the same thing, one writes for an event: the first that sends
---@field holdout? kairos.Share  of the users, who are sent nothing by it but what is transactional, so that its worth can be seen
---@field goal? kairos.GoalSpec  with `holdout`: what `kairos experiments` compares those who were written to and held out by

--- A rule. A rule file ends with `return kairos.rule { … }`, or with a list of rules.
---@param spec kairos.RuleSpec
---@return kairos.Rule
return function(spec)
  local fields = check.fields("kairos.rule", spec, schema)
  -- Copies: the file may change its tables after this, and the host goes by what was checked.
  local timers, timer_names = {}, {}
  for name, handler in pairs(fields.timers or {}) do
    timers[name] = handler
    timer_names[#timer_names + 1] = name
  end
  if fields.starts and fields.ends and core.moment(fields.ends) <= core.moment(fields.starts) then
    core.fail('kairos.rule: `ends` is not after `starts`: it would run from "' .. fields.starts .. '" to "' .. fields.ends .. '"')
  end
  if fields.needs_if and not fields.needs then
    core.fail "kairos.rule: `needs_if` says when to ask for `needs`, and there are none; write needs = { … }, or put it into `when`"
  end
  local goal = campaign.goal("kairos.rule", fields, "goal", "goal of kairos.rule")
  if fields.for_each and fields.needs then
    core.fail("kairos.rule: `needs` and `for_each` do not go together: a look-up for each of many users would flood its server; "
      .. "put what they need into the event")
  end
  local for_each, pace, expires_in = check.fan_out("kairos.rule", fields)
  local needs, need_names = {}, {}
  for name, need in pairs(fields.needs or {}) do
    needs[name] = need
    need_names[#need_names + 1] = name
  end
  local rule = campaign.terms(fields, goal)
  rule.on, rule.when, rule.act = check.list(fields.on), fields.when, fields.act
  rule.timers, rule.timer_names = timers, timer_names
  rule.needs, rule.need_names, rule.needs_if = needs, need_names, fields.needs_if
  rule.for_each, rule.pace, rule.expires_in = for_each, pace, expires_in
  return core.rule(rule)
end
