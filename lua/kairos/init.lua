--- What a rule file gets from `require "kairos"`.

local core = require "kairos.core"

---@class kairos
local kairos = {
  --- A rule: react to events at once. See kairos/rule.lua.
  rule = require "kairos.rule",
  --- Counts, sums and remembers what one user did in a stretch of time. See kairos/window.lua.
  window = require "kairos.window",
  --- At most so often for one user. See kairos/throttle.lua.
  throttle = require "kairos.throttle",
  --- The time the rule is judged at: the event's own, in a timer the time it was due. Milliseconds since 1970.
  ---@type fun(): number
  now = core.now,
}

local names = {}
for name in pairs(kairos) do
  names[#names + 1] = name
end

return setmetatable(kairos, {
  __index = function(_, name)
    local meant = core.nearest(tostring(name), names)
    core.fail("there is no kairos." .. tostring(name) .. (meant and "; did you mean kairos." .. meant .. "?"
      or "; there are: kairos." .. table.concat(names, ", kairos.")))
  end,
})
