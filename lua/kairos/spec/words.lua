--- What the parts of kairos.spec say when they are called wrongly. Inside `kairos spec` alone.

local native = require "kairos.native"

local words = {}

local here = debug.getinfo(1, "S").source:match "^(.*)words%.lua$"

--- The level of the innermost function that is the author's, as error() counts from the caller's caller.
local function authors_level()
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info then
      return 2
    end
    local source = info.source
    local ours = source:sub(1, #here) == here or source == here:sub(1, -2) .. ".lua"
    if info.what ~= "C" and not ours and not source:find("/luassert/", 1, true) then
      return level - 1
    end
    level = level + 1
  end
end

--- Raise an error at the author's line.
---@param message string
function words.fail(message)
  error(message, authors_level())
end

--- Fail the test at the author's line.
---@param message string
function words.fail_test(message)
  require("busted").fail(message, authors_level())
end

--- "; did you mean `x`?", or nothing.
---@param word string
---@param known string[]
function words.meant(word, known)
  local nearest = native.nearest(word, known)
  return nearest and "; did you mean `" .. nearest .. "`?" or ""
end

--- Keys of a table, sorted, that a pattern matches.
---@param map table<string, any>
---@param pattern? string
---@return string[]
function words.keys(map, pattern)
  local found = {}
  for name in pairs(map) do
    if type(name) == "string" and (not pattern or name:find(pattern)) then
      found[#found + 1] = name
    end
  end
  table.sort(found)
  return found
end

--- Raise unless the name is among those known.
---@param what string  the sentence before it: "there is no template"
---@param name any
---@param known string[]
function words.check_name(what, name, known)
  local seen, list = {}, {}
  for _, one in ipairs(known) do
    if one == name then
      return
    elseif not seen[one] then
      seen[one] = true
      list[#list + 1] = one
    end
  end
  table.sort(list)
  local there = #list > 0 and "; there are: " .. table.concat(list, ", ") or "; there are none"
  words.fail(what .. " `" .. tostring(name) .. "`" .. words.meant(tostring(name), list) .. there)
end

--- Raise unless `given` is a table with no other fields than these.
---@param what string
---@param given any
---@param fields string[]
---@param example string
function words.check_fields(what, given, fields, example)
  if type(given) ~= "table" then
    words.fail(what .. " takes a table in braces: " .. example)
  end
  for name in pairs(given) do
    if type(name) ~= "string" then
      words.fail(what .. " takes fields with names: " .. example)
    end
    words.check_name(what .. " has no field", name, fields)
  end
end

return words
