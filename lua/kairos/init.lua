--- What a rule file gets from `require "kairos"`.
--
-- A rule file is plain Lua 5.1 with `goto`. It sees: assert, error, getmetatable, ipairs, next, pairs, pcall, rawequal, rawget,
-- rawset, require, select, setmetatable, tonumber, tostring, type, unpack, and the tables math, string and table, as the Lua
-- manual describes them but for this:
--
-- * Rules are pure. What was made while the file was loaded is read-only afterwards, and so is the event: writing it is an error
--   with file and line. What shall be known at the next event is kept with user:set.
-- * `pairs` and `next` have a fixed order: numbers, then text, then false and true. Keys of other types are refused.
-- * math.random follows from the event, the user and the campaign: a replay throws the same dice. There is no randomseed.
-- * tostring shows no addresses and asks no __tostring. There are no weak tables.
-- * A call has a budget of time and memory (rules.budget, rules.memory). Once it is used up no pcall catches the error. It may
--   ask for 1 MB of changes to the user and for 100 messages, 4 MB together.
-- * A campaign has at most 100 windows, and keeps at most a quarter of rules.memory.
-- * Patterns have at most 256 characters; string.rep, upper, lower and reverse make at most 1 MB; functions given to gsub, sort
--   and pcall nest at most 32 deep.
-- * `require "helpers"` is helpers.lua of the same folder, `require "shared.helpers"` is rules/shared/helpers.lua. Each campaign
--   has its own copy of what a module returns.

local core = require "kairos.core"

---@class kairos
local kairos = {
  --- A rule: react to events at once. See kairos/rule.lua.
  rule = require "kairos.rule",
  --- A journey: a conversation that lasts. See kairos/journey.lua.
  journey = require "kairos.journey",
  --- Counts, sums and remembers what one user did in a stretch of time. See kairos/window.lua.
  window = require "kairos.window",
  --- At most so often for one user. See kairos/throttle.lua.
  throttle = require "kairos.throttle",
  --- Who is in, to the millisecond. See kairos/segment.lua.
  segment = require "kairos.segment",
  --- Who did something with a thing lately, so that an event about it finds them. See kairos/interest.lua.
  interest = require "kairos.interest",
  --- What a rule needs beyond the user's record: look-ups. See kairos/needs.lua.
  needs = require "kairos.needs",
  --- Which variant does more for a goal. See kairos/experiment.lua.
  experiment = require "kairos.experiment",
  --- The time the rule is judged at: the event's own, in a timer the time it was due. Milliseconds since 1970.
  ---@type fun(): number
  now = core.now,
}

--- Loaded by the host for the files whose text has the name in it.
---@class kairos
---@field date kairos.date  dates, time zones, durations: kairos/date.lua
---@field geo kairos.geo  places: kairos/geo.lua
---@field money kairos.money  exact sums: kairos/money.lua
---@field sample kairos.sample  shares of the users: kairos/sample.lua
---@field set kairos.set  lists without order: kairos/set.lua
---@field text kairos.text  letters and words: kairos/text.lua
local parts = { "date", "geo", "money", "sample", "set", "text" }
local names = {}
for i, name in ipairs(parts) do
  names[i] = name
  parts[name] = true
end
for name in pairs(kairos) do
  names[#names + 1] = name
end
table.sort(names)

return setmetatable(kairos, {
  __index = function(_, name)
    if parts[name] then
      core.fail("kairos." .. name .. " is not loaded; write local " .. name .. " = kairos." .. name .. " at the top of the file")
    end
    local meant = core.nearest(tostring(name), names)
    core.fail("there is no kairos." .. tostring(name) .. (meant and "; did you mean kairos." .. meant .. "?"
      or "; there are: kairos." .. table.concat(names, ", kairos.")))
  end,
})
