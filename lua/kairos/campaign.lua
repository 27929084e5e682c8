--- What rules and journeys have in common: how a campaign runs, and what it is measured against.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "rollout", "share", '"25%"' },
  { "mode", "mode", '"live"' },
  { "starts", "moment", '"2026-11-27 09:00 Europe/Berlin"' },
  { "ends", "moment", '"2026-12-01 00:00 Europe/Berlin"' },
  { "hours", "hours", '"mon-fri 09:00-18:00 Europe/Berlin"' },
  { "priority", "priority", "10" },
  { "competes", "name", '"checkout"' },
  { "holdout", "share", '"10%"' },
}

local campaign = {}

--- A schema for check.fields() with what every campaign may have behind its own fields.
---@param own table[]
---@param goal string  what the goal of those held out is called there
---@return table[]
function campaign.schema(own, goal)
  for _, field in ipairs(schema) do
    own[#own + 1] = field
  end
  own[#own + 1] = { goal, "goal", '{ on = "order.completed", within = "7d" }' }
  return own
end

--- The goal that those held out are compared by; an empty table without one.
---@param what string  "kairos.rule"
---@param fields table
---@param goal string  its field's name
---@param place string  what it is called when something in it is wrong
---@return table
function campaign.goal(what, fields, goal, place)
  if fields[goal] and not fields.holdout then
    core.fail(what .. ": `" .. goal .. '` is compared with those held out, and nobody is; write holdout = "10%"')
  end
  return fields[goal] and check.goal(place, fields[goal]) or {}
end

--- What the host takes of it (core.rule): to be completed.
---@param fields table
---@param goal table  of campaign.goal()
---@return table
function campaign.terms(fields, goal)
  local terms = {
    name = fields.name,
    goal_on = goal.on,
    goal_within = goal.within,
    goal_where = goal.where,
    goal_value = goal.value,
  }
  for _, field in ipairs(schema) do
    terms[field[1]] = fields[field[1]]
  end
  return terms
end

return campaign
