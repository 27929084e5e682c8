--- Templates under review: which variables they look up, and which partials they take in.
--
-- What is malformed the host says itself when it loads them; here a tag is what stands in {{ }}.

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

return templates
