--- What can never be so, or always is: comparisons, conditions, operators of other languages.

local nodes = require "review.nodes"
local values = require "review.values"

local name_of, text_of = nodes.name_of, nodes.text_of
local comparison = { eq = "==", ne = "~=", lt = "<", le = "<=", gt = ">", ge = ">=" }
local not_lua = { idiv = { "//", "math.floor(a / b)" }, band = { "&", "and" }, bor = { "|", "or" }, shl = { "<<", "a * 2 ^ b" },
  shr = { ">>", "math.floor(a / 2 ^ b)" }, bnot = { "~", "not" }, bxor = { "~", "~= to compare" } }

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

---@class review.Walk
local Walk = {}

--- What a number, or text, compared with the other can never be.
function Walk:check_comparison(node)
  local op, left, right = node[1], node[2], node[3]
  local one, two = self.types:of(self.source, left), self.types:of(self.source, right)
  -- not a == b
  if (op == "eq" or op == "ne") and left.tag == "Op" and left[1] == "not" and not (two and two.kind == "boolean")
    and text_of(self.source, { offset = left.offset, end_offset = left.offset }) == "n" then
    local a, b = text_of(self.source, left[2]), text_of(self.source, right)
    return self:warn("comparison", node, "`not` belongs to what stands behind it alone: this compares false with it",
      a and b and ("write %s %s %s"):format(a, op == "eq" and "~=" or "==", b) or "write a ~= b")
  end
  for index = 2, 3 do -- a variant, or a side of a split, that there is not
    local choices, text = (index == 2 and one or two or {}).choices, node[5 - index]
    if choices and text.tag == "String" and (op == "eq" or op == "ne") then
      local known = {}
      for _, choice in ipairs(choices) do known[choice] = true end
      if not known[text[1]] then
        return self:warn("comparison", text, ('it is never "%s"'):format(text[1]), values.choose(text[1], choices))
      end
    end
  end
  if left.tag == "Index" and right.tag == "String" or right.tag == "Index" and left.tag == "String" then
    self:check_event_type(left.tag == "Index" and left or right, left.tag == "String" and left or right)
  end
  if op ~= "eq" and op ~= "ne" then
    for index = 2, 3 do
      local other = index == 2 and two or one
      if node[index].tag == "String" and tonumber(node[index][1]) and (not other or other.kind == "given") then
        return self:error("comparison", node[index], ("a number cannot be compared with text by %s"):format(comparison[op]),
          "write " .. node[index][1])
      end
    end
  end
  if not one or not two or one.kind == two.kind then return end
  local plain = { number = true, string = true, boolean = true }
  if not plain[one.kind] or not plain[two.kind] then return end
  local text, other = (one.kind == "string" and one or two), (one.kind == "string" and two or one)
  local place = one.kind == "string" and left.tag == "String" and left or right
  local number = text.kind == "string" and text.value and tonumber(text.value)
  local instead = other.kind == "number" and number and ("write %s"):format(text.value)
    or (one.kind == "boolean" or two.kind == "boolean") and (one.kind == "number" or two.kind == "number") and "write > 0" or nil
  local mine = one.kind == "string" and "text" or "a " .. one.kind
  local its = two.kind == "string" and "text" or "a " .. two.kind
  if op == "eq" or op == "ne" then
    self:warn("comparison", place, ("%s never equals %s"):format(mine, its), instead)
  else
    self:error("comparison", place, ("%s cannot be compared with %s by %s"):format(mine, its, comparison[op]), instead)
  end
end

--- Text joined with an attribute that nothing has asked for in this file: where the user has none, the rule fails.
function Walk:check_joined(node)
  if node.tag ~= "Index" or node[2].tag ~= "String" then return end
  local base, name = self.types:of(self.source, node[1]), node[2][1]
  if not base or base.kind ~= "class" or base.class.name ~= "kairos.User" or base.class.fields[name] then return end
  local shown = name_of(node)
  local _, times = (" " .. self.source.text .. " "):gsub("[^%w_]" .. shown:gsub("%p", "%%%0") .. "%f[^%w_]", "")
  if times > 1 or self.source.text:find(":set%(%s*[\"']" .. name:gsub("%p", "%%%0") .. "[\"']") then return end
  self:warn("nil", node, "a user may have none, and joining text with nil fails", ('write (%s or "")'):format(shown))
end

--- The types of the event that the code at hand is given, as a set; nil if that cannot be told.
function Walk:types_here(base)
  local fn, known = self:running(), {}
  if not fn or base.waited or fn.field == "where" or fn.phases.run then return nil end
  for rule in pairs(fn.in_rules) do
    if rule.unclear or rule.on_unclear then return nil end
    for name in pairs(rule.on) do known[name] = true end
  end
  return known
end

--- event.type == "…" where the rule never gets such an event.
function Walk:check_event_type(index, text)
  if index[2].tag ~= "String" or index[2][1] ~= "type" then return end
  local base = self.types:of(self.source, index[1])
  if not base or base.kind ~= "class" or base.class.name ~= "kairos.Event" then return end
  local fn = self:running()
  local known = base.on or self:types_here(base)
  if not fn or not known or next(known) == nil or known[text[1]] then return end
  local near = values.nearest(text[1], known)
  self:warn("comparison", text, (base.waited and 'this wait ends by no event of type "%s"' or 'the rule gets no event of type "%s"')
    :format(text[1]), near and ('write "%s"'):format(near)
    or ('add it to its `on`, which has: %s'):format(table.concat(sorted(known), ", ")))
end

--- A condition that is a number or text is true whatever it is.
function Walk:check_condition(node)
  local base = node.tag == "Invoke" and self.types:of(self.source, node[1])
  local field = base and base.kind == "class" and self.types:member(base.class, node[2][1])
  local method = field and field.type and field.type.kind == "function" and field.type
  if method and not method.returns and (base.class.name == "kairos.User" or base.class.name == "kairos.Journey") then
    return self:warn("condition", node, ("%s:%s answers nothing, so this is never true"):format(name_of(node[1]) or "user",
      node[2][1]), "write it on a line of its own")
  end
  local one = self.types:of(self.source, node)
  if not one then return end
  if one.kind == "number" or one.kind == "string" then
    local written = node.tag == "Number" or node.tag == "String"
    self:warn("condition", node, ("%s is true, even %s"):format(one.kind == "number" and "a number" or "text",
      one.kind == "number" and "0" or '""'), written and "compare it with something"
      or one.kind == "number" and "write > 0 behind it" or 'write ~= "" behind it')
  end
end

function Walk:check_operation(node)
  local op = node[1]
  if not_lua[op] and (op ~= "bxor" or node[3]) then
    local how = not_lua[op]
    return self:error("syntax", node, ("there is no `%s` in Lua"):format(how[1]), "write " .. how[2])
  end
  if comparison[op] then return self:check_comparison(node) end
  if op == "or" and (node[3].tag == "String" or node[3].tag == "Number") and node[2].tag == "Op"
    and (node[2][1] == "eq" or node[2][1] == "ne") then
    local a, b, c = text_of(self.source, node[2][2]), node[2][1], text_of(self.source, node[3])
    return self:warn("condition", node, "this is always true: what stands behind `or` is a condition of its own",
      a and c and ("write … %s %s %s %s"):format(b == "eq" and "or" or "and", a, comparison[b], c) or "write the comparison again")
  end
  if op == "concat" then
    for index = 2, 3 do self:check_joined(node[index]) end
  end
  if op == "and" or op == "or" then return end
  if op == "not" then return self:check_condition(node[2]) end
  if op == "add" then
    for index = 2, 3 do
      if node[index].tag == "String" and not tonumber(node[index][1]) then
        return self:error("operator", node, "`+` adds numbers", "write .. to join text")
      end
    end
  end
end

return Walk
