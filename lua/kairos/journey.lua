--- Journeys: conversations that last.
--
-- `run` is plain Lua that waits: journey:wait "1h" may take an hour, and the host may be stopped, updated or moved meanwhile. It
-- is durable by replay. What `run` got from the host so far (counts, attributes, splits, what was sent) is kept in the user's
-- record; to go on, the host runs the function again from its beginning, and it gets the same answers up to where it waits.
-- So `run` must ask the host, and not guess: kairos.now() and math.random are the journey's own, and nothing else differs.

local campaign = require "kairos.campaign"
local check = require "kairos.check"
local core = require "kairos.core"

local schema = campaign.schema({
  { "name", "name", '"cart_abandoned"' },
  { "start", "fields", '{ on = "cart.updated", when = function(event, user) return true end }', required = true },
  { "run", "function", "function(journey, user, event) … end", required = true },
  { "key", "path", '"payload.cart_id"' },
  { "again", "again", '"restart"' },
  { "exit", "fields", '{ on = "order.completed" }' },
  { "goal", "fields", '{ on = "order.completed", within = "3d" }' },
  { "flight", "flight", '"pin"' },
  { "late", "late", '"skip"' },
  { "late_after", "duration", '"2h"' },
}, "worth")
local start_schema = {
  { "on", "types", '"cart.updated"', required = true },
  { "when", "function", "function(event, user) return true end" },
  { "for_each", "audience", "function(event) return watchers:of(event.payload.sku) end" },
  { "pace", "rate", '"500/s"' },
  { "expires_in", "duration", '"6h"' },
}
local exit_schema = {
  { "on", "types", '"order.completed"', required = true },
  { "where", "function", "function(event, journey) return event.payload.cart_id == journey.key end" },
}
local goal_schema = {
  { "on", "types", '"order.completed"', required = true },
  { "where", "function", "function(event, journey) return event.payload.total > 0 end" },
  { "within", "duration", '"3d"' },
}

---@class kairos.JourneyStart
---@field on kairos.EventType|kairos.EventType[]  the event types that begin it
---@field when? fun(event: kairos.Event, user: kairos.User): any  whether it begins; it always does without one
---@field for_each? (fun(event: kairos.Event): kairos.Audience?)|kairos.Audience  a fan-out: it begins for each of them
---@field pace? kairos.Rate  how many of them: "500/s"; the configuration's fan_out.pace unless given
---@field expires_in? kairos.Duration  then it begins for nobody more: "6h"; the configuration's fan_out.expires_in unless given

---@class kairos.JourneyExit
---@field on kairos.EventType|kairos.EventType[]  the event types that end it, at once and wherever it is
---@field where? fun(event: kairos.Event, journey: kairos.Journey, user: kairos.User): any  whether the event is about it

---@class kairos.JourneyGoal
---@field on kairos.EventType|kairos.EventType[]  what it is for
---@field where? fun(event: kairos.Event, journey: kairos.Journey, user: kairos.User): any  whether the event is about it
---@field within? kairos.Duration  of its beginning: also after its end; unless given, while it is under way

---@class kairos.JourneyStep  one that a journey has behind it, for a `flight` that takes it over
---@field op "wait"|"wait_until"|"wait_for"|"send"|"split"|"set"|"emit"|"goal"|"read"  what it was
---@field step string  the same in words: "wait 1h"
---@field answer any  what it gave: the event of a wait_for, the side of a split, …; nil where there is nothing to say
---@field error? string  it failed with this, and a pcall of the journey's caught it

---@alias kairos.Flight "pin"|"adopt"|fun(journey: kairos.Journey, history: kairos.JourneyStep[], user: kairos.User): table?

---@class kairos.JourneySpec
---@field name? kairos.Name  what it is called in `kairos journeys`; the folder's name unless given
---@field start kairos.JourneyStart  what begins it
---@field run fun(journey: kairos.Journey, user: kairos.User, event: kairos.Event)  what happens, with its waits
---@field key? kairos.Path  one journey for each value of this field of the beginning event: "payload.cart_id"; else one a user
---@field again? "ignore"|"restart"|"parallel"  what another start with the key of one under way does: "ignore" unless given
---@field exit? kairos.JourneyExit|kairos.JourneyExit[]  what ends it
---@field goal? kairos.JourneyGoal  what it is for, counted
---@field flight? "pin"|"adopt"|kairos.Migration  which source those under way go on with after a change: "pin" (their own)
--- "adopt", this, if their history fits; a function: this anew, with the table that it makes as journey.state (nil: their own)
---@field late? "fire"|"skip"|"exit"  what becomes of a wait that ends long after its time, as after downtime: "fire" unless given
---@field late_after? kairos.Duration  how late is too late
---@field rollout? kairos.Share  for which share of the users it begins: "25%"; who is in stays in while it grows
---@field mode? "live"|"shadow"|"paused"  a shadow runs, and nothing of it is sent; paused: those under way are held as well
---@field starts? kairos.Moment  none begins before
---@field ends? kairos.Moment  then those under way end, too
---@field hours? kairos.Hours  in which it begins and goes on: "mon-fri 09:00-18:00 Europe/Berlin"
---@field priority? number  of the campaigns that want an event the higher run first; 0 unless given
---@field competes? kairos.Name  of the campaigns that compete for the same thing, one writes for an event: the first that sends
---@field holdout? kairos.Share  of the users, whom it goes on with and sends nothing but what is transactional: to see its worth
---@field worth? kairos.GoalSpec  with `holdout`: what `kairos experiments` compares those who were written to and held out by

--- A journey. A rule file ends with `return kairos.journey { … }`, or with a list of rules and journeys.
---@param spec kairos.JourneySpec
---@return kairos.Rule
return function(spec)
  local fields = check.fields("kairos.journey", spec, schema)
  local start = check.fields("`start` of kairos.journey", fields.start, start_schema)
  local exits = {}
  local goal_within
  if fields.goal then
    local goal = check.fields("`goal` of kairos.journey", fields.goal, goal_schema)
    exits[1] = { on = check.list(goal.on), where = goal.where }
    goal_within = goal.within and core.duration(goal.within)
  end
  local given = fields.exit
  if given and given[1] == nil then
    given = { given }
  end
  for i, one in ipairs(given or {}) do
    local what = #given > 1 and "`exit` " .. i .. " of kairos.journey" or "`exit` of kairos.journey"
    local exit = check.fields(what, one, exit_schema)
    exits[#exits + 1] = { on = check.list(exit.on), where = exit.where }
  end
  if (fields.late == "skip" or fields.late == "exit") and not fields.late_after then
    core.fail('kairos.journey: late = "' .. fields.late .. '" needs to know how late is too late; write late_after = "2h" beside')
  end
  if fields.starts and fields.ends and core.moment(fields.ends) <= core.moment(fields.starts) then
    core.fail('kairos.journey: `ends` is not after `starts`: from "' .. fields.starts .. '" to "' .. fields.ends .. '"')
  end
  local worth = campaign.goal("kairos.journey", fields, "worth", "`worth` of kairos.journey")
  local for_each, pace, expires_in = check.fan_out("`start` of kairos.journey", start)
  core.upcoming(require("kairos.date").upcoming)
  local rule = campaign.terms(fields, worth)
  rule.on, rule.when, rule.act = check.list(start.on), start.when, fields.run
  rule.for_each, rule.pace, rule.expires_in = for_each, pace, expires_in
  rule.timers, rule.timer_names, rule.needs, rule.need_names = {}, {}, {}, {}
  rule.journey = {
    key = fields.key and fields.key:sub(#"payload." + 1),
    again = fields.again,
    flight = type(fields.flight) == "function" and "migrate" or fields.flight,
    migrate = type(fields.flight) == "function" and fields.flight or nil,
    exits = exits,
    goal = fields.goal ~= nil,
    goal_within = goal_within or 0,
    late = fields.late,
    late_after = fields.late_after and core.duration(fields.late_after) or 0,
  }
  return core.rule(rule, "kairos.journey")
end
