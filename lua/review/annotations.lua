--- What the library offers, as its annotations say (LuaCATS: https://luals.github.io/wiki/annotations/): the one truth for
-- editors and for the review.
--
-- Reads lua/meta and lua/kairos line by line; a subset, as our own files write it: @class, @field, @overload, @alias, @param,
-- @return, @type, and the functions and fields below them.
--
-- A type is { kind, … }: kind "any", "nil", "string", "number", "boolean", "table", "function" (params, returns),
-- "literal" (value), "array" (of), "class" (name), "union" (list of types); `optional` marks `T?`.

local annotations = {}

--- Read one type at the beginning of `text`. @return the type, and what stands behind it
local parse_type

local function parse_function(text)
  local params = {}
  local rest = text:match "^%s*%((.*)$"
  while rest and not rest:find "^%s*%)" do
    local name, after = rest:match "^%s*([%w_.]+%??)%s*:(.*)$"
    local one
    if name then
      one, rest = parse_type(after)
    else
      name, rest = rest:match "^%s*([%w_.]+%??)(.*)$"
      if not name then break end
    end
    params[#params + 1] = { name = name:gsub("%?$", ""), type = one, optional = name:find "%?$" ~= nil or one and one.optional }
    rest = rest:gsub("^%s*,", "", 1)
  end
  rest = (rest or ""):gsub("^%s*%)", "", 1)
  local returns
  if rest:find "^%s*:" then returns, rest = parse_type((rest:gsub("^%s*:", "", 1))) end
  return { kind = "function", params = params, returns = returns }, rest
end

local simple = { any = "any", ["nil"] = "nil", string = "string", number = "number", integer = "number", boolean = "boolean",
  table = "table", ["function"] = "function", unknown = "any" }

local function parse_primary(text)
  text = text:gsub("^%s+", "")
  local quoted, rest = text:match '^"([^"]*)"(.*)$'
  if quoted then return { kind = "literal", value = quoted }, rest end
  if text:find "^fun%s*%(" then return parse_function((text:gsub("^fun", "", 1))) end
  if text:find "^%(" then
    local one, after = parse_type(text:sub(2))
    return one, (after:gsub("^%s*%)", "", 1))
  end
  if text:find "^{" then
    local braces, after = text:match "^(%b{})(.*)$"
    return { kind = "table", shape = braces }, after
  end
  local name, after = text:match "^([%w_.]+)(.*)$"
  if not name then return { kind = "any" }, text end
  if after:find "^<" then
    local inside, behind = after:match "^(%b<>)(.*)$"
    after = behind
    local _, of = parse_type(inside:sub(2))
    local value = of:find "^%s*," and parse_type((of:gsub("^%s*,", "", 1))) or nil
    return { kind = "table", values = value }, after
  end
  local kind = simple[name]
  return kind and { kind = kind, params = kind == "function" and {} or nil } or { kind = "class", name = name }, after
end

function parse_type(text)
  local one, rest = parse_primary(text)
  while true do
    if rest:find "^%[%]" then
      one, rest = { kind = "array", of = one }, rest:sub(3)
    elseif rest:find "^%?" then
      one.optional, rest = true, rest:sub(2)
    elseif rest:find "^|" then
      local other
      other, rest = parse_type(rest:sub(2))
      local list = other.kind == "union" and other.list or { other }
      table.insert(list, 1, one)
      one = { kind = "union", list = list, optional = one.optional or other.optional }
    else
      return one, rest
    end
  end
end

annotations.parse_type = parse_type

--- What `text`, a library file, says is added to `known`.
-- @return what the file returns: a type, or nil
local function read(known, text)
  local params, returns, declared, class, said = {}, nil, nil, nil, nil
  local bound = {} -- a local's name -> the class that stands for it
  local inside     -- the class whose table constructor is being read
  local result
  local function forget() params, returns, declared, said = {}, nil, nil, nil end
  local function class_of(name)
    if not bound[name] then bound[name] = { name = name, fields = {}, order = {} } end
    return bound[name]
  end
  local function add(to, name, one, description)
    if not to.fields[name] then to.order[#to.order + 1] = name end
    to.fields[name] = { type = one, description = description, optional = one and one.optional }
  end
  local function documented(names, method)
    local list = {}
    for name in (names or ""):gmatch "[%w_.]+" do
      local about = params[name] or {}
      list[#list + 1] = { name = name, type = about.type, optional = about.optional or name == "..." }
    end
    return { kind = "function", params = list, returns = returns, method = method, description = said }
  end

  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local tag, rest = line:match "^%s*%-%-%-%s*@(%a+)%s*(.*)$"
    if tag == "class" then
      local name = rest:gsub("^%b()%s*", ""):match "^[%w_.]+"
      class = known.classes[name] or { name = name, fields = {}, order = {} }
      known.classes[name] = class
      class.parent = rest:match "^[%w_.]+%s*:%s*([%w_.]+)" or class.parent
    elseif tag == "field" and class then
      if rest:find "^%[" then
        class.open = true
      else
        local name, optional, after = rest:match "^([%w_]+)(%??)%s+(.*)$"
        if name then
          local one, description = parse_type(after)
          one.optional = one.optional or optional == "?"
          add(class, name, one, (description:gsub("^%s+", "")))
        end
      end
    elseif tag == "overload" and class then
      class.call = parse_type(rest)
    elseif tag == "alias" then
      local name, after = rest:match "^([%w_.]+)%s+(.*)$"
      if name then known.aliases[name] = parse_type(after) end
    elseif tag == "param" then
      local name, optional, after = rest:match "^([%w_.]+)(%??)%s+(.*)$"
      if name then
        local one = parse_type(after)
        params[name] = { type = one, optional = optional == "?" or one.optional }
      end
    elseif tag == "return" then
      returns = returns or parse_type(rest)
    elseif tag == "type" then
      declared = parse_type(rest)
    elseif line:find "^%s*%-%-" then
      said = said or line:match "^%s*%-%-%-?%s*(.*)$"
    else
      local owner, dot, name, names = line:match "^%s*function%s+([%w_]+)([.:])([%w_]+)%s*(%b())"
      local target = line:match "^local%s+([%w_]+)%s*=%s*{"
      if owner then
        add(class_of(owner), name, documented(names, dot == ":"))
      elseif target and class then
        bound[target], class = class, nil
        if not line:find "}%s*$" then inside = bound[target] end
      elseif line:find "^return%s+function" then
        result = documented(line:match "%b()")
      elseif line:find "^return%s+setmetatable%(" then
        result = bound[line:match "^return%s+setmetatable%(([%w_]+)"]
      elseif line:find "^return%s+[%w_]+%s*$" then
        result = bound[line:match "^return%s+([%w_]+)"]
      elseif inside and line:find "^}" then
        inside = nil
      elseif inside then
        local field, value = line:match "^%s+([%w_]+)%s*=%s*(.-),?%s*$"
        if field then
          local module = value:match "^require%s*%(?%s*[\"']([%w_.]+)[\"']%)?$"
          add(inside, field, declared or module and { kind = "module", name = module } or documented "", said)
        end
      else
        owner, name = line:match "^([%w_]+)%.([%w_]+)%s*=%s*%S"
        if owner and (declared or next(params) or returns) then
          add(class_of(owner), name, declared or documented(line:match "function%s*(%b())"))
        elseif line:find "%S" then
          class = nil
        end
      end
      if line:find "%S" or not class then forget() end
    end
  end
  return result and (result.kind and result or { kind = "class", class = result })
end

--- Read library files.
---@param files table<string, string>  by module name ("kairos", "kairos.rule", …; those of lua/meta by any): their text
---@return table known  classes and aliases by name, modules: a type by module name
function annotations.read(files)
  local known = { classes = {}, aliases = {}, modules = {} }
  local names = {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do known.modules[name] = read(known, files[name]) end
  return known
end

return annotations
