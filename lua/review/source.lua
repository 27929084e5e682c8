--- One Lua file under review: its text, what luacheck makes of it, and the problems found in it.

local check_state = require "luacheck.check_state"

--- Those of luacheck's stages whose findings mean something to a marketer. In luacheck's order.
local stages = { "parse", "unwrap_parens", "linearize", "resolve_locals", "detect_uninit_accesses", "detect_unreachable_code",
  "detect_unused_locals" }
for index, name in ipairs(stages) do stages[index] = require("luacheck.stages." .. name) end

--- Past this the flow of values is not followed: it costs the square of the length.
local FLOW_MAX = 256 * 1024

---@class review.Source
---@field path string  within the rules folder: "cart/rule.lua"
---@field shown string  as problems name it
---@field campaign string
---@field text string
---@field ast table?  luacheck's; nil if it does not parse
---@field state table  luacheck's
---@field fault table?  luacheck's syntax error
---@field problems table[]
local Source = { PROBLEMS_MAX = 200 } -- more are not looked for in one file
Source.__index = Source

---@return review.Source
function Source.new(path, text, shown)
  local self = setmetatable({ path = path, text = text, shown = shown, campaign = path:match "^[^/]+", problems = {} }, Source)
  self.state = check_state.new(text)
  local binary = text:find "^\27L" or text:find "%z"
  if binary then
    self.fault = { binary = text:find "^\27L" and "this is compiled Lua; rules are text" or "this is no text" }
    return self
  end
  for _, stage in ipairs(stages) do
    if stage == stages[4] and #text > FLOW_MAX then break end
    local ok, fault = pcall(stage.run, self.state)
    if not ok then
      if type(fault) == "table" and fault.msg then
        self.fault = fault
      else -- nested deeper than the parser can follow
        self.fault = { msg = "too deep", line = 1, offset = 1, end_offset = 1, deep = true }
      end
      return self
    end
  end
  self.ast = self.state.ast
  return self
end

--- A line's text.
function Source:line(number)
  if not self.lines then
    self.lines = {}
    for line in (self.text .. "\n"):gmatch "([^\n]*)\n" do self.lines[#self.lines + 1] = line end
  end
  return ((self.lines[number] or ""):gsub("\r$", ""))
end

--- The column of an offset, both from 1, in letters.
function Source:column(line, offset)
  local from = self.state.line_offsets and self.state.line_offsets[line]
  return from and math.max(1, offset - from + 1) or 1
end

--- Note a problem. `place` is a node, or anything with line, offset and end_offset (letters from 1), or with line, column and
-- end_column.
---@param severity "error"|"warning"|"note"
---@param code string  what kind it is
---@param place table
---@param message string  what is wrong
---@param instead? string  what to write
---@return table problem
function Source:problem(severity, code, place, message, instead)
  if #self.problems >= Source.PROBLEMS_MAX then return self.problems[1] end
  local column = place.column or place.offset and self:column(place.line, place.offset) or 0
  local end_column = place.end_column
  local text = self:line(place.line)
  if not end_column and place.end_offset then
    end_column = self:column(place.line, place.end_offset) + 1
    -- What goes on over several lines is marked to the end of its first.
    local next_line = self.state.line_offsets and self.state.line_offsets[place.line + 1]
    if next_line and place.end_offset >= next_line then
      end_column = column + math.max(1, select(2, text:gsub("[^\128-\191]", "")) - column + 1)
    end
  end
  local problem = { file = self.shown, line = place.line, column = column, end_column = end_column or column + 1,
    severity = severity, code = code, message = message, instead = instead, text = text:sub(1, 4000) }
  self.problems[#self.problems + 1] = problem
  return problem
end

return Source
