--- Templates under review: which variables they look up, and which partials they take in.
--
-- What is malformed the host says itself when it loads them; here a tag is what stands in {{ }}.

local native = require "kairos.native"

local templates = {}

---@class review.Template
---@field path string  within the rules folder
---@field name string  without its ending
---@field campaign string
---@field variables table[]  { name, path, line, column, end_column, section, within }: path: the name with what follows a dot;
--  section: whether it opens one; within: the innermost around it, { name, outer }
---@field partials table<string, boolean>
---@field front table<string, number>  keys of the front matter, and their lines

--- Take a template's tags apart.
---@param path string
---@param text string
---@return review.Template
function templates.read(path, text)
  local template = { path = path, name = path:match "([^/]+)%.%w+$", campaign = path:match "^[^/]+", variables = {}, partials = {},
    lines = {} }
  template.front = {}
  local front_line = 1
  for line in (text:match "^%-%-%-[ \r]*\n(.-)\n%-%-%-" or ""):gmatch "[^\n]+" do
    front_line = front_line + 1
    local key = line:match "^([%w_-]+)%s*:"
    if key then template.front[key] = front_line end
  end
  local within, number = nil, 0
  text = text:gsub("{{!.-}}", function(comment) return (comment:gsub("[^\n]", " ")) end)
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    template.lines[number] = line
    local at, counted, column = 1, 1, 1 -- column: of the byte `counted`
    while true do
      local from, to, inside = line:find("{{{?%s*([^{}]-)%s*}}}?", at)
      if not from then break end
      at = to + 1
      local sign, name = inside:match "^([#^/>&]?)%s*(.-)$"
      if sign == ">" then
        template.partials[name] = true
      elseif sign == "/" then
        within = within and within.outer
      elseif name ~= "" and name ~= "." then
        local start = line:find(name, from, true)
        column = column + select(2, line:sub(counted, start - 1):gsub("[^\128-\191]", ""))
        counted = start
        template.variables[#template.variables + 1] = { name = name:match "^[^.]+", path = name, line = number, column = column,
          end_column = column + #name, within = within, section = sign == "#" or sign == "^" }
        if sign == "#" or sign == "^" then within = { name = name, outer = within } end
      end
    end
  end
  return template
end

--- A .json template as JSON: what stands around its tags, and for each tag what may come of it, at the same places. A section is
-- there once, or (`empty`) not at all. Nil where that cannot be told: partials may bring in anything.
local function as_json(text, empty)
  local function blank(part, with) return (part:gsub("[^\n\r]", with)) end
  local front = text:match "^%-%-%-[ \r]*\n.-\n%-%-%-[ \r]*\n" or ""
  local out, at, in_string = { blank(front, " ") }, #front + 1, false
  local open = {} -- sections around the place, innermost last: whether what is in them is left out
  local function shown() return not open[#open] end
  local function plain(to)
    local part = text:sub(at, to)
    if not shown() then
      out[#out + 1] = blank(part, " ")
      return
    end
    local from = 1
    while true do -- a quote begins or ends a text, unless a backslash is before it
      local place = part:find(in_string and '["\\\\]' or '"', from)
      if not place then break end
      if part:sub(place, place) == "\\" then
        from = place + 2
      else
        in_string, from = not in_string, place + 1
      end
    end
    out[#out + 1] = part
  end
  while true do
    local from, to, inside = text:find("{{{?%s*([^{}]-)%s*}}}?", at)
    if not from then break end
    plain(from - 1)
    local sign, tag = inside:match "^([#^/>!&=]?)", text:sub(from, to)
    at = to + 1
    if sign == ">" or sign == "=" then return nil end
    if sign == "#" or sign == "^" then
      open[#open + 1] = not shown() or (sign == "#") == empty
    elseif sign == "/" then
      open[#open] = nil
    end
    if sign == "" or sign == "&" then
      out[#out + 1] = not shown() and blank(tag, " ") or in_string and blank(tag, "x") or "0" .. blank(tag:sub(2), " ")
    else
      out[#out + 1] = blank(tag, in_string and shown() and "x" or " ")
    end
  end
  plain(#text)
  return table.concat(out)
end

--- What is wrong with a .json template, whatever its variables are: the host posts what it renders to, and who reads it as JSON
-- gets nothing. Nil, or line, column, why; `always`: also where its sections are empty.
---@param text string
---@return number? line
---@return number? column
---@return string? why
---@return boolean? always
function templates.broken_json(text)
  local full, bare = as_json(text, false), as_json(text, true)
  if not full then return nil end
  local line, column, why = native.json(full):match "line (%d+), column (%d+): (.*)$"
  if not line then return nil end
  return tonumber(line), tonumber(column), why, native.json(bare) ~= ""
end

return templates
