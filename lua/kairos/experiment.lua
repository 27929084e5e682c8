--- Experiments: which variant does more for a goal.
--
-- Who gets which variant follows from a hash of the user's id and the experiment's name, and is kept: whoever has had one keeps
-- it, as long as it is declared; then he gets the control. Results are shown by `kairos experiments`.

local check = require "kairos.check"
local core = require "kairos.core"

local describe = check.describe

local schema = {
  { "name", "name", '"subject_line"', required = true },
  { "variants", "variants", "{ plain = 50, urgent = 50 }", required = true },
  { "goal", "goal", '{ on = "order.completed", within = "7d" }', required = true },
  { "control", "name", '"plain"' },
  { "holdout", "share", '"10%"' },
  { "choose", "choose", '"thompson"' },
  { "every", "duration", '"1h"' },
}

---@class kairos.ExperimentSpec
---@field name kairos.Name  what results are shown under, over all campaigns
---@field variants table<string, number>|string[]  each with its weight; a list: equal weights
---@field goal kairos.GoalSpec  what counts as success
---@field control? kairos.Name  the variant that the others are compared with; unless given the first of the list, or by name
---@field holdout? kairos.Share  of the users, who get none of the campaign's messages from their exposure on: "10%"
---@field choose? "fixed"|"thompson"  by the weights; or by how likely each variant is the best, so far as is known
---@field every? kairos.Duration  how often "thompson" weighs anew: "1h" unless given

--- An experiment, declared at the top of the file and asked with user:variant(experiment) in `act`.
---@param spec kairos.ExperimentSpec
---@return kairos.Experiment
return function(spec)
  local fields = check.fields("kairos.experiment", spec, schema)
  local goal = check.goal("goal of kairos.experiment", fields.goal)
  local names, weights = {}, {}
  local list = rawget(fields.variants, 1) ~= nil
  for key, value in pairs(fields.variants) do
    names[#names + 1] = list and value or key
    weights[#weights + 1] = list and 1 or value
  end
  if #names < 2 and not fields.holdout then
    core.fail("kairos.experiment: one variant alone is compared with nothing; write another, or holdout = \"10%\"")
  end
  local control = fields.control or names[1]
  local found
  for i, name in ipairs(names) do
    found = found or name == control and i
  end
  if not found then
    core.fail("kairos.experiment: `control` is no variant: " .. describe(control) .. "; there are: " .. table.concat(names, ", "))
  elseif fields.every and fields.choose ~= "thompson" then
    core.fail 'kairos.experiment: `every` is for choose = "thompson"; fixed weights are not drawn anew'
  elseif fields.every and (core.duration(fields.every) < 60000 or core.duration(fields.every) > 86400000 * 7) then
    core.fail('kairos.experiment: `every` must be from "1m" to "7d", not ' .. describe(fields.every))
  end
  return core.experiment {
    name = fields.name,
    variants = names,
    weights = weights,
    control = found,
    holdout = fields.holdout,
    thompson = fields.choose == "thompson",
    every = fields.every and core.duration(fields.every) or 3600000,
    on = goal.on,
    where = goal.where,
    within = goal.within,
    value = goal.value,
  }
end
