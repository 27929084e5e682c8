--- Lists taken as sets: without order, each value once.
--
-- The sets are plain lists of text, numbers, true and false, as payloads and profiles hold them, so that what comes out can be
-- kept with user:set. Answers are in the order in which the values first come. Nothing is changed in place. Pure.

local check = require "kairos.check"
local core = require "kairos.core"

---@class kairos.set
local set = {}

--- Add the values of a list that are not there yet to `list`.
local function gather(value, what, list, seen)
  if type(value) ~= "table" then
    core.fail("kairos.set." .. what .. ": write lists such as { \"red\", \"blue\" }, not " .. check.describe(value))
  end
  for i = 1, #value do
    core.charge(1)
    local one = value[i]
    local kind = type(one)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" or one ~= one then
      core.fail("kairos.set." .. what .. ": element " .. i .. " must be text, a number, true or false, not " .. check.describe(one))
    elseif seen[one] == nil then
      seen[one] = true
      list[#list + 1] = one
    end
  end
  return list, seen
end

local function members(value, what)
  return gather(value, what, {}, {})
end

--- Those of the first list for which `seen` is `wanted`.
local function sift(value, what, seen, wanted)
  local found = {}
  for _, one in ipairs((members(value, what))) do
    core.charge(1)
    if (seen[one] == true) == wanted then
      found[#found + 1] = one
    end
  end
  return found
end

--- Each value once.
---@generic T
---@param list T[]
---@return T[]
function set.unique(list)
  return (members(list, "unique"))
end

--- How many different values it has.
---@param list any[]
---@return number
function set.count(list)
  return #members(list, "count")
end

--- Whether a value is in it.
---@param list any[]
---@param value any
---@return boolean
function set.has(list, value)
  local _, seen = members(list, "has")
  return value ~= nil and seen[value] == true
end

--- What is in either.
---@generic T
---@param a T[]
---@param b T[]
---@return T[]
function set.union(a, b)
  local list, seen = members(a, "union")
  return (gather(b, "union", list, seen))
end

--- What is in both.
---@generic T
---@param a T[]
---@param b T[]
---@return T[]
function set.intersect(a, b)
  local _, seen = members(b, "intersect")
  return sift(a, "intersect", seen, true)
end

--- What is in the first and not in the second.
---@generic T
---@param a T[]
---@param b T[]
---@return T[]
function set.without(a, b)
  local _, seen = members(b, "without")
  return sift(a, "without", seen, false)
end

--- Whether all of `part` is in `whole`.
---@param whole any[]
---@param part any[]
---@return boolean
function set.contains(whole, part)
  return #set.without(part, whole) == 0
end

return set
