--- Templates under review: which variables they look up, and which partials they take in.
--
-- What is malformed the host says itself when it loads them; here a tag is what stands in {{ }}.

local templates = {}

---@class review.Template
---@field path string  within the rules folder
---@field name string  without its ending
---@field campaign string
---@field variables table[]  { name, line, column, end_column, within } within: the sections around it, the innermost last
---@field partials table<string, boolean>

--- Take a template's tags apart.
---@param path string
---@param text string
---@return review.Template
function templates.read(path, text)
  local template = { path = path, name = path:match "([^/]+)%.%w+$", campaign = path:match "^[^/]+", variables = {}, partials = {},
    lines = {} }
  local within, number = {}, 0
  text = text:gsub("{{!.-}}", function(comment) return (comment:gsub("[^\n]", " ")) end)
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    template.lines[number] = line
    local at = 1
    while true do
      local from, to, inside = line:find("{{{?%s*([^{}]-)%s*}}}?", at)
      if not from then break end
      at = to + 1
      local sign, name = inside:match "^([#^/>&]?)%s*(.-)$"
      if sign == ">" then
        template.partials[name] = true
      elseif sign == "/" then
        if within[#within] then within[#within] = nil end
      elseif name ~= "" and name ~= "." then
        local before = line:sub(1, from - 1)
        local start = line:find(name, from, true) or from
        local column = select(2, before:gsub("[^\128-\191]", "")) + (start - from) + 1
        local around = {}
        for index, section in ipairs(within) do around[index] = section end
        template.variables[#template.variables + 1] = { name = name:match "^[^.]+", line = number, column = column,
          end_column = column + #name, within = around, section = sign == "#" or sign == "^" }
        if sign == "#" or sign == "^" then within[#within + 1] = name end
      end
    end
  end
  return template
end

return templates
