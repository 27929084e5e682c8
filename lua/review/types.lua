--- What the expressions of rule files are: the host's objects, windows, functions; as far as it can be told without running them.
--
-- A type here is nil (unknown), or a table with `kind`:
--   "class"     class (of annotations), and what is known beside it: `window` (a declaration), `path` (within the event)
--   "function"  node and source (one of the files'), or annotated (the library's) with name ("kairos.window", "user:count")
--   "table"     node: its constructor
--   "module"    source: what require gave
--   "library"   name, fields: string, table, math
--   "string", "number", "boolean", "nil"; value where it stands there, choices where a string is one of some
--   "given"     a part of the event or timer: path; schema where it is known

local types = {}

local Types = {}
Types.__index = Types

--- What a campaign declares: the call -> its kind.
local declares = { ["kairos.rule"] = "rule", ["kairos.journey"] = "journey", ["kairos.segment"] = "segment" }
--- The phase that the functions in a field run in: "when" only answers, "member" says who is in a segment, "run" is a journey's
-- conversation; all others act.
local phases = { when = "when", needs_if = "when", where = "when", for_each = "when", flight = "when", member = "member",
  run = "run" }

---@param known table  of annotations.read
---@param names table  what a rule file sees: globals by name, each true or a set of fields
function types.new(known, names)
  return setmetatable({ known = known, names = names, sources = {}, rules = {}, queue = {} }, Types)
end

--- More texts than this that a value may be are not told apart.
local CHOICES_MAX = 32

--- Children of a node that are nodes or lists of them.
local function each(node, visit, ...)
  for index = 1, #node do
    local child = node[index]
    if type(child) == "table" then visit(child, ...) end
  end
end

local scalar = { String = "string", Number = "number", True = "boolean", False = "boolean", Nil = "nil" }
local arithmetic = { add = true, sub = true, mul = true, div = true, mod = true, pow = true, unm = true }
local comparing = { eq = true, ne = true, lt = true, le = true, gt = true, ge = true, ["not"] = true }

--- The class's field of that name, also an inherited one.
function Types:member(class, name)
  local depth = 0
  while class and depth < 10 do
    if class.fields[name] then return class.fields[name], class end
    class = class.parent and self.known.classes[class.parent]
    depth = depth + 1
  end
end

--- Whether any name may be read from it.
function Types:is_open(class)
  local depth = 0
  while class and depth < 10 do
    if class.open then return true end
    class = class.parent and self.known.classes[class.parent]
    depth = depth + 1
  end
  return false
end

--- The type that an annotation stands for.
function Types:of_annotation(one, name)
  if not one or one.kind == "any" or one.optional and one.kind ~= "class" then return nil end
  local kind = one.kind
  if kind == "string" or kind == "number" or kind == "boolean" or kind == "nil" then return { kind = kind } end
  if kind == "literal" then return { kind = "string" } end
  if kind == "function" then return { kind = "function", annotated = one, name = name } end
  if kind == "module" then
    local module = self.known.modules[one.name]
    if not module then return nil end
    if module.kind == "class" then return { kind = "class", class = module.class, name = name } end
    return self:of_annotation(module, name)
  end
  if kind == "class" then
    local class = self.known.classes[one.name]
    if class then return { kind = "class", class = class } end
    local alias = self.known.aliases[one.name]
    return alias and not one.optional and self:of_annotation(alias, name) or nil
  end
  if kind == "union" then
    local first
    for _, each_one in ipairs(one.list) do
      local this = self:of_annotation(each_one)
      if not this or first and first.kind ~= this.kind then return nil end
      first = this
    end
    return first and first.kind ~= "class" and { kind = first.kind } or nil
  end
  return nil
end

--- The one value a local ever has; nil if there are several, or it is a parameter.
local function only_value(var)
  local value = var.values and #var.values == 1 and var.values[1]
  return value and value.node and value.item and value or nil
end

--- What `require` of `name` in `source` gives: a source, or nil.
function Types:module(source, name)
  local folder, file = source.campaign, name
  if name:find "^shared%." then folder, file = "shared", name:sub(#"shared." + 1) end
  return self.sources[folder .. "/" .. file .. ".lua"]
end

--- The type of what a file returns.
function Types:result_of(source)
  local last = source.ast and source.ast[#source.ast]
  if last and last.tag == "Return" and last[1] then return self:of(source, last[1]) end
end

--- The field `name` that module `source` sets in the table it returns, as a node: `function M.name`, M.name = …, { name = … }.
function types.export(source, name)
  if not source.exports then
    source.exports = {}
    local last = source.ast and source.ast[#source.ast]
    local returned = last and last.tag == "Return" and last[1]
    if returned and returned.tag == "Id" and returned.var then
      for _, statement in ipairs(source.ast) do
        if statement.tag == "Set" then
          for index, target in ipairs(statement[1]) do
            if target.tag == "Index" and target[1].var == returned.var and target[2].tag == "String" then
              source.exports[target[2][1]] = statement[2][index]
            end
          end
        end
      end
      local value = only_value(returned.var)
      returned = value and value.node
    end
    if returned and returned.tag == "Table" then
      for _, item in ipairs(returned) do
        if item.tag == "Pair" and item[1].tag == "String" then source.exports[item[1][1]] = item[2] end
      end
    end
  end
  return source.exports[name]
end

function Types:of_index(source, node)
  local base, key = self:of(source, node[1]), node[2]
  if not base then return nil end
  local name = key.tag == "String" and key[1]
  if base.kind == "class" then
    local path = base.path
    local field = name and self:member(base.class, name)
    if field and field.type then
      local one = self:of_annotation(field.type, (base.name or base.class.name:match "[^.]*$"):lower() .. "." .. name)
      if one and one.kind == "class" and one.class.name == "kairos.Payload" then
        one.path, one.on, one.waited = "payload", base.on, base.waited
      end
      return one or (base.class.name == "kairos.Timer" and name == "data" and { kind = "given", path = "data" }) or nil
    end
    if path and name then return { kind = "given", path = path .. "." .. name } end
    if path then return { kind = "given", path = path } end
    return nil
  elseif base.kind == "given" then
    return { kind = "given", path = base.path .. "." .. (name or "…") }
  elseif base.kind == "table" and name then
    for _, item in ipairs(base.node) do
      if item.tag == "Pair" and item[1].tag == "String" and item[1][1] == name then return self:of(base.source, item[2]) end
    end
  elseif base.kind == "module" and name then
    local value = types.export(base.source, name)
    return value and self:of(base.source, value)
  elseif base.kind == "library" then
    return nil
  end
end

--- The field of a table that stands there; nil if there is none, or it is no table.
local function field_of(self, source, node, name)
  local value = node and self:of(source, node)
  for _, item in ipairs(value and value.kind == "table" and value.node or {}) do
    if item.tag == "Pair" and item[1].tag == "String" and item[1][1] == name then return item[2] end
  end
end

--- The set of texts that stand there: one, or a list; nil if that cannot be told.
function Types:texts_of(source, node)
  local one = node and self:of(source, node)
  if not one then return nil end
  local set = {}
  for _, item in ipairs(one.kind == "table" and one.node or { node }) do
    local text = item.tag ~= "Pair" and self:of(one.source or source, item)
    if not (text and text.kind == "string" and text.value) then return nil end
    set[text.value] = true
  end
  return set
end

--- The texts that a value may be; nil if that cannot be told.
function types.choices(one)
  return one and one.kind == "string" and (one.choices or one.value and { one.value }) or nil
end

--- The names of a table of names and weights, without the one that names the whole: { name = "offer", a = 50, b = 50 } -> a, b;
-- or of a list of names. Nil if it does not stand there.
function types.weighted(node)
  if not node or node.tag ~= "Table" then return nil end
  local names = {}
  for _, item in ipairs(node) do
    local name = item.tag == "Pair" and item[1] or item
    if name.tag ~= "String" then return nil end
    if name == item or name[1] ~= "name" then names[#names + 1] = name[1] end
  end
  return names
end

--- The declaration behind a call of kairos.window: what stands in its table.
function types.window_of(source, node)
  if not node.window then
    local window = { source = source, node = node, fields = {}, method = "count" }
    local spec = node[2]
    if spec and spec.tag == "Table" then
      for _, item in ipairs(spec) do
        if item.tag == "Pair" and item[1].tag == "String" then
          window.fields[item[1][1]] = item[2]
        else
          window.unclear = true
        end
      end
    else
      window.unclear = true
    end
    for _, method in ipairs { "sum", "last", "first", "distinct" } do
      if window.fields[method] then window.method = method end
    end
    node.window = window
  end
  return node.window
end

function Types:of_call(source, node)
  local callee = self:of(source, node[1])
  if node[1].tag == "Id" and not node[1].var and node[1][1] == "require" then
    local name = node[2] and node[2].tag == "String" and node[2][1]
    if name == "kairos" then
      local module = self.known.modules.kairos
      return module and { kind = "class", class = module.class, name = "kairos" }
    end
    local module = name and self:module(source, name)
    if not module or module == source then return nil end
    local result = not module.asking and module.ast
    if result then
      module.asking = true
      local one = self:result_of(module)
      module.asking = nil
      if one and one.kind ~= "table" then return one end
    end
    return { kind = "module", source = module }
  end
  if callee and callee.kind == "class" and callee.class.call then return self:of_annotation(callee.class.call.returns) end
  if not callee or callee.kind ~= "function" or not callee.annotated then return nil end
  local result = self:of_annotation(callee.annotated.returns)
  if result and result.kind == "class" and result.class.name == "kairos.Window" then
    result.window = types.window_of(source, node)
  elseif result and (callee.name or ""):find "segment%.entered$" or result and (callee.name or ""):find "segment%.left$" then
    local name = node[2] and self:of(source, node[2])
    result.value = name and name.value and callee.name:match "segment%.%a+$" .. ":" .. name.value
  elseif result and result.kind == "class" and result.class.name == "kairos.Experiment" then
    result.experiment = node[2] and { source = source, node = node[2] }
  elseif result and result.kind == "class" and result.class.name == "kairos.Interest" then
    result.interest = node[2] and { source = source, node = node[2] }
  end
  return result
end

--- The type of an expression.
function Types:of(source, node)
  local tag = node.tag
  if scalar[tag] then return { kind = scalar[tag], value = tag == "Number" and tonumber(node[1]) or node[1] } end
  if node.being_asked then return nil end
  node.being_asked = true
  local result
  if tag == "Id" then
    if not node.var then
      local fields = self.names[node[1]]
      result = type(fields) == "table" and { kind = "library", name = node[1], fields = fields } or nil
    elseif node.var.given then
      result = node.var.given
    else
      local value = only_value(node.var)
      if value and value.type ~= "arg" and value.type ~= "loop" and value.type ~= "loopi" then
        local item = value.item
        local first = item.rhs and (item.lhs[1] == value.var_node or #item.rhs >= #item.lhs)
        if first then result = self:of(source, value.node) end
      end
    end
  elseif tag == "Index" then
    result = self:of_index(source, node)
  elseif tag == "Call" then
    result = self:of_call(source, node)
  elseif tag == "Invoke" then
    local base = self:of(source, node[1])
    local field = base and base.kind == "class" and self:member(base.class, node[2][1])
    if field and field.type and field.type.kind == "function" then
      result = self:of_annotation(field.type.returns)
      if base.class.name == "kairos.Journey" and node[2][1] == "wait_for" and result then
        result.on = node[3] and self:texts_of(source, field_of(self, source, node[3], "on"))
        result.waited = true
      elseif base.class.name == "kairos.Journey" and node[2][1] == "split" then
        result = { kind = "string", choices = types.weighted(node[3]) }
      elseif base.class.name == "kairos.User" and node[2][1] == "variant" then
        local experiment = node[3] and self:of(source, node[3])
        experiment = experiment and experiment.experiment
        local variants = experiment and field_of(self, experiment.source, experiment.node, "variants")
        result = { kind = "string", choices = types.weighted(variants) }
      end
    elseif base and base.kind == "string" then
      result = nil
    end
  elseif tag == "Table" then
    result = { kind = "table", node = node, source = source }
  elseif tag == "Function" then
    result = { kind = "function", node = node, source = source }
  elseif tag == "Op" then
    local op = node[1]
    if arithmetic[op] then -- of numbers; money has operators of its own
      local left, right = self:of(source, node[2]), node[3] and self:of(source, node[3])
      local one, two = left and left.kind == "number", not node[3] or right and right.kind == "number"
      if one and two or (one or node[3] and two) and op ~= "mul" then result = { kind = "number" } end
    elseif op == "len" then
      result = { kind = "number" }
    elseif comparing[op] then
      result = { kind = "boolean" }
    elseif op == "concat" then
      local some, more = types.choices(self:of(source, node[2])), types.choices(self:of(source, node[3]))
      result = { kind = "string", choices = some and more and #some * #more <= CHOICES_MAX and {} or nil }
      for _, first in ipairs(result.choices and some or {}) do
        for _, second in ipairs(more) do table.insert(result.choices, first .. second) end
      end
    elseif (op == "and" or op == "or") and node[3] then
      local left, right = self:of(source, node[2]), self:of(source, node[3])
      if left and right and left.kind == right.kind and scalar[left.kind] then result = { kind = left.kind } end
      if op == "or" then -- condition and "this" or "that"
        local first = node[2].tag == "Op" and node[2][1] == "and" and self:of(source, node[2][3]) or left
        local some, more = types.choices(first), types.choices(right)
        if some and more then
          result = { kind = "string", choices = { unpack(some) } }
          for _, choice in ipairs(more) do table.insert(result.choices, choice) end
        end
      end
    end
  end
  node.being_asked = nil
  return result
end

--- The Function node that an expression stands for, and its file.
function Types:function_of(source, node)
  local one = self:of(source, node)
  if one and one.kind == "function" and one.node then return one.node, one.source end
end

--- Parameter `index` of a function is of this type.
function Types:give(fn, source, index, one)
  local param = fn[1][index]
  local var = param and param.var
  if not one or not var or var.given == false then return end
  local before = var.given
  if before and (before.kind ~= one.kind or before.class ~= one.class) then
    var.given = false -- now this, now that
    return
  elseif before then
    if before.window ~= one.window then before.window = nil end
    if before.path ~= one.path then before.path = before.path and one.path and "…" end
    return
  end
  var.given = { kind = one.kind, class = one.class, window = one.window, experiment = one.experiment,
    interest = one.interest, path = one.path, name = one.name, node = one.node, source = one.source,
    annotated = one.annotated, fields = one.fields }
  if not fn.queued then
    fn.queued = true
    self.queue[#self.queue + 1] = { fn = fn, source = source }
  end
end

--- A function runs in this phase ("when", "act") of a rule.
function Types:runs(fn, source, rule, phase)
  fn.phases, fn.in_rules = fn.phases or {}, fn.in_rules or {}
  if fn.phases[phase] and (not rule or fn.in_rules[rule]) then return end
  fn.phases[phase] = true
  if rule then fn.in_rules[rule] = true end
  if fn.queued then return end
  fn.queued = true
  self.queue[#self.queue + 1] = { fn = fn, source = source }
end

--- What is handed to an annotated parameter or field is of its type: functions in it get their parameters' types.
-- @param rule  the rule that is declared, if it is one
function Types:expect(source, one, node, rule, field)
  if not one then return end
  if one.kind == "class" and self.known.aliases[one.name] then one = self.known.aliases[one.name] end
  if one.kind == "function" then
    local fn, from = self:function_of(source, node)
    if not fn then return end
    local first, second = fn[1][1], fn[1][2]
    local swapped = phases[field] and phases[field] ~= "act" and field ~= "when" and first and second and one.params[2]
      and first[1] == one.params[2].name and second[1] == one.params[1].name -- which is said
    for index, param in ipairs(swapped and {} or one.params) do self:give(fn, from, index, self:of_annotation(param.type)) end
    fn.field, fn.expected = fn.field or field, fn.expected or one.params
    fn.journey = rule and rule.kind == "journey"
    if rule then self:runs(fn, from, rule, phases[field] or "act") end
  elseif one.kind == "table" and one.values then
    local value = self:of(source, node)
    if value and value.kind == "table" then
      for _, item in ipairs(value.node) do
        if item.tag == "Pair" then self:expect(value.source, one.values, item[2], rule, field) end
      end
    end
  elseif one.kind == "class" then
    local class, value = self.known.classes[one.name], self:of(source, node)
    if not class or not value or value.kind ~= "table" then return end
    for _, item in ipairs(value.node) do
      local name = item.tag == "Pair" and item[1].tag == "String" and item[1][1]
      local about = name and self:member(class, name)
      if about then self:expect(value.source, about.type, item[2], rule, name) end
    end
  elseif one.kind == "union" then
    for _, each_one in ipairs(one.list) do self:expect(source, each_one, node, rule, field) end
  elseif one.kind == "array" then
    local value = self:of(source, node)
    if value and value.kind == "table" then
      for _, item in ipairs(value.node) do
        if item.tag ~= "Pair" then self:expect(value.source, one.of, item, rule, field) end
      end
    end
  end
end

--- A rule's, journey's or segment's declaration as far as it stands there.
local function rule_of(self, source, node, kind)
  local value = node[2] and self:of(source, node[2])
  local rule = { kind = kind, source = source, node = node, on = {}, timers = {}, needs = {}, fields = {}, timers_set = {} }
  if not value or value.kind ~= "table" then
    rule.unclear = true
    return rule
  end
  for _, item in ipairs(value.node) do
    if item.tag == "Pair" and item[1].tag == "String" then
      rule.fields[item[1][1]] = item[2]
    else
      rule.unclear = true
    end
  end
  local on_node = rule.fields.on
  if kind == "journey" then on_node = field_of(self, source, rule.fields.start, "on") end
  rule.for_each = kind == "journey" and field_of(self, source, rule.fields.start, "for_each") or rule.fields.for_each
  local on = on_node and self:of(source, on_node)
  if on and on.kind == "string" and on.value then
    rule.on[on.value] = on_node
  elseif on and on.kind == "table" then
    for _, item in ipairs(on.node) do
      local type_of_event = self:of(source, item)
      local name = type_of_event and type_of_event.kind == "string" and type_of_event.value
      if name then rule.on[name] = item else rule.on_unclear = true end
    end
  else
    rule.on_unclear = true
  end
  local timers = rule.fields.timers and self:of(source, rule.fields.timers)
  if timers and timers.kind == "table" then
    for _, item in ipairs(timers.node) do
      if item.tag == "Pair" and item[1].tag == "String" then
        rule.timers[item[1][1]] = item[1]
      else
        rule.timers_unclear = true
      end
    end
  elseif rule.fields.timers then
    rule.timers_unclear = true
  end
  local needs = rule.fields.needs and self:of(source, rule.fields.needs)
  rule.needs_unclear = rule.fields.needs and not (needs and needs.kind == "table")
  for _, item in ipairs(needs and needs.kind == "table" and needs.node or {}) do
    if item.tag == "Pair" and item[1].tag == "String" then
      rule.needs[item[1][1]] = item[1]
    else
      rule.needs_unclear = true
    end
  end
  rule.name = rule.fields.name and rule.fields.name.tag == "String" and rule.fields.name[1]
    or not rule.fields.name and source.campaign or nil
  return rule
end

--- Look at every call of a body: what it hands to annotated functions, and to those of the files.
function Types:look(source, node, fn)
  if node.tag == "Function" then
    node.outer = fn
    if fn and fn.phases then
      for phase in pairs(fn.phases) do
        for rule in pairs(fn.in_rules) do self:runs(node, source, rule, phase) end
      end
    end
    fn = node
  end
  if node.tag == "Call" then
    local callee = self:of(source, node[1])
    local annotated = callee and (callee.kind == "function" and callee.annotated or callee.kind == "class" and callee.class.call)
    if annotated then
      local kind = declares[callee.name]
      if kind and not node.rule then
        node.rule = rule_of(self, source, node, kind)
        self.rules[#self.rules + 1] = node.rule
      end
      for index, param in ipairs(annotated.params) do
        if node[index + 1] then self:expect(source, param.type, node[index + 1], node.rule) end
      end
    elseif callee and callee.kind == "function" and callee.node then
      for index = 2, #node do
        local one = self:of(source, node[index])
        if one and (one.kind == "class" or one.kind == "given") then self:give(callee.node, callee.source, index - 1, one) end
      end
      if fn and fn.phases then
        for phase in pairs(fn.phases) do
          for rule in pairs(fn.in_rules) do self:runs(callee.node, callee.source, rule, phase) end
        end
      end
    end
  end
  if node.tag == "Invoke" then -- journey:wait_for { where = function … }
    local base = self:of(source, node[1])
    local field = base and base.kind == "class" and self:member(base.class, node[2][1])
    local annotated = field and field.type and field.type.kind == "function" and field.type
    for index, param in ipairs(annotated and annotated.params or {}) do
      local argument = node[index + 2]
      local rules = fn and fn.in_rules or {}
      if argument and next(rules) == nil then self:expect(source, param.type, argument) end
      for rule in pairs(argument and rules or {}) do self:expect(source, param.type, argument, rule) end
    end
  end
  each(node, function(child) self:look(source, child, fn) end)
end

--- Follow what is handed to whom, until nothing new comes of it.
function Types:follow()
  for _, source in ipairs(self.list) do
    if source.ast then self:look(source, source.ast, nil) end
  end
  local at = 1
  while at <= #self.queue and at < 100000 do
    local next_one = self.queue[at]
    at = at + 1
    next_one.fn.queued = nil
    self:look(next_one.source, next_one.fn[2], next_one.fn)
  end
  -- What nobody in these files calls: a parameter named `user` is one.
  local user = self.known.classes["kairos.User"]
  local function by_name(node)
    if node.tag == "Function" then
      for _, param in ipairs(node[1]) do
        if param.var and param.var.given == nil and param[1] == "user" and user then
          param.var.given = { kind = "class", class = user }
        end
      end
    end
    each(node, by_name)
  end
  for _, source in ipairs(self.list) do
    if source.ast then by_name(source.ast) end
  end
end

--- Take in the files.
---@param list review.Source[]
function Types:add(list)
  self.list = list
  for _, source in ipairs(list) do self.sources[source.path] = source end
end

return types
