--- The walk through one rule file: names, fields, what may not be written, the rule itself. calls.lua and conditions.lua add the
-- rest of what is looked at on the way.

local nodes = require "review.nodes"
local review_flow = require "review.flow"
local type_tools = require "review.types"
local values = require "review.values"

local acting, answering, name_of, text_of = nodes.acting, nodes.answering, nodes.name_of, nodes.text_of

local rules = {}

--- What other languages call what Lua has.
local foreign = { null = "nil", None = "nil", undefined = "nil", NULL = "nil", Nil = "nil", NIL = "nil", True = "true",
  TRUE = "true", False = "false", FALSE = "false", now = "kairos.now()" }

--- What a function that only answers is there for, by the field that it stands in.
local unanswered = { when = "so the rule never acts", needs_if = "so nobody is ever asked", where = "so no event ever fits",
  flight = "so all stay with their own source", member = "so nobody is ever in the segment", for_each = "so it reaches nobody" }

--- What people call a journey's own.
local synonyms = { sleep = ":wait", delay = ":wait", pause = ":wait", after = ":wait", await = ":wait_for", on = ":wait_for",
  wait_event = ":wait_for", at = ":wait_until", branch = ":split", choose = ":split", random = ":split", payload = ".event.payload",
  data = ".event.payload",
  user = ".event.user, or user: it is handed to run behind journey", restart = ":continue", loop = ":continue" }

---@class review.Walk
---@field types table
---@field source review.Source
---@field input table
---@field facts table  of the whole: sends, types used, attributes
local Walk = {}
Walk.__index = Walk
for _, part in ipairs { require "review.calls", require "review.conditions", require "review.journeys",
  require "review.audiences" } do
  for name, method in pairs(part) do Walk[name] = method end
end

function Walk:error(code, node, message, instead) return self.source:problem("error", code, node, message, instead) end
function Walk:warn(code, node, message, instead) return self.source:problem("warning", code, node, message, instead) end

--- The rules and phases that the code at hand runs for.
function Walk:running()
  local fn = self.fn
  while fn and not fn.phases do fn = fn.outer end
  return fn
end

--- The names of the locals that are known at a node.
function Walk:names_near()
  local near = {}
  for name in pairs(self.types.names) do near[name] = true end
  for name in pairs(self.locals) do near[name] = true end
  return near
end

function Walk:check_name(node)
  local name = node[1]
  if node.var or self.types.names[name] or self.written[name] or #self.source.problems >= self.source.PROBLEMS_MAX then return end
  if foreign[name] then
    return self:error("unknown-name", node, ("there is nothing named `%s` here"):format(name), "write " .. foreign[name])
  end
  local instead = self.input.missing[name]
  local fn = self:running()
  if instead and name == "event" and fn and fn.phases.run then instead = "write journey.event for what began it" end
  if instead and node.told then return end
  if instead then return self:error("unknown-name", node, ("there is no `%s` here"):format(name), instead) end
  if node.told then return end
  local library = self.types.known.classes.kairos
  if library and library.fields[name] then
    return self:error("unknown-name", node, ("there is nothing named `%s` here"):format(name),
      ("write local %s = kairos.%s at the top of the file"):format(name, name))
  end
  local near = values.nearest(name, self:names_near())
  if near then self.meant[near] = true end
  self:error("unknown-name", node, ("there is nothing named `%s` here"):format(name),
    near and "write " .. near or ("if it is yours, declare it above: local %s = …"):format(name))
end

--- A read of a field: base.name, or base:name(…).
function Walk:check_member(base, node, key, called)
  if key.tag ~= "String" then
    if key.tag == "Number" and tonumber(key[1]) == 0 and base.kind == "given" then
      self:warn("list-from-zero", key, "lists begin at 1 in Lua", "write [1]")
    end
    return
  end
  local name = key[1]
  local shown = name_of(node[1]) or (base.name or "it")
  if base.kind == "library" then
    if base.fields[name] then return end
    if base.name == "math" and name == "randomseed" then
      return self:error("unknown-name", key, "math.random follows from event, user and campaign: a replay throws the same dice",
        "delete this line")
    end
    return self:error("unknown-name", key, ("there is no `%s.%s` here"):format(base.name, name),
      (values.choose(name, base.fields) or ""):gsub("^write ", "write " .. base.name .. "."))
  elseif base.kind == "module" then
    if base.source.ast and base.source.exports and next(base.source.exports) and not type_tools.export(base.source, name) then
      return self:warn("unknown-name", key, ("%s has no `%s`"):format(base.source.shown, name),
        values.choose(name, base.source.exports))
    end
    return
  elseif base.kind ~= "class" then
    return
  end
  local class = base.class
  local field = self.types:member(class, name)
  if class.name == "kairos.Event" and name == "user" and self:is_fan_out() then
    return self:warn("fan-out", key, "in a fan-out this is whom the event is about, if anybody, and not who is reached",
      "write user.id")
  end
  if field then
    if called and not (field.type and field.type.kind == "function") and class.name ~= "kairos.User" then
      self:error("unknown-name", key, ("`%s.%s` is no function"):format(shown, name))
    end
    return
  end
  if class.name == "kairos.User" and (name == "payload" or name == "event") and not called then
    local fn = self:running()
    return self:warn("unknown-name", key, ("a user has no `%s`"):format(name), fn and fn.phases.member
      and "write a window of the events that are meant, and ask user:count(window)" or "write event." .. (name == "event" and "type"
        or "payload"))
  end
  if class.name == "kairos.User" and not called then
    local facts = self.facts
    facts.attribute_reads[#facts.attribute_reads + 1] = { name = name, source = self.source, node = key }
    facts.attribute_counts[name] = (facts.attribute_counts[name] or 0) + 1
  elseif class.name == "kairos.Payload" and not called then
    self:check_payload(key)
  elseif class.name == "kairos.Needs" and not called then
    self:check_need(key)
  end
  if called or not self.types:is_open(class) then
    if class.name == "kairos.Event" then
      if acting[name] or answering[name] then
        local fn = self:running()
        return self:error("unknown-name", key, ("`%s` is the event, it has no `%s`"):format(shown, name),
          fn and "write function(event, user): the event comes first" or "write user:" .. name)
      end
      local near = values.nearest(name, class.order)
      return self:error("unknown-name", key, ("the event has no `%s`"):format(name),
        near and ("write %s.%s"):format(shown, near) or ("write %s.payload.%s for what its sender says"):format(shown, name))
    elseif class.name == "kairos.Journey" then
      local user = self.types.known.classes["kairos.User"]
      local methods = {}
      for _, each in ipairs(class.order) do
        local about = class.fields[each].type
        if about and (about.kind == "function") == called then methods[#methods + 1] = each end
      end
      if user and user.fields[name] and shown ~= "journey" then
        return self:error("unknown-name", key, ("`%s` is the journey, it has no `%s`"):format(shown, name),
          "write function(journey, user): the journey comes first")
      end
      return self:error("unknown-name", key, ("a journey has no `%s`"):format(name), user and user.fields[name]
        and "write user:" .. name or synonyms[name] and "write " .. shown .. synonyms[name]
        or (values.choose(name, methods) or ""):gsub("^write ", "write " .. shown .. (called and ":" or ".")))
    elseif class.name == "kairos.Experiment" and (name == "variant" or name == "of") then
      return self:error("unknown-name", key, ("an experiment has no `%s`"):format(name), ("write user:variant(%s)"):format(shown))
    elseif class.name == "kairos.Timer" and (acting[name] or answering[name]) then
      return self:error("unknown-name", key, ("`%s` is the timer, it has no `%s`"):format(shown, name),
        self:running() and "write function(timer, user): the timer comes first" or "write user:" .. name)
    elseif class.name == "kairos" and (acting[name] or answering[name]) then
      return self:error("unknown-name", key, ("`kairos` has no `%s`"):format(name), "write user:" .. name)
    elseif class.name == "kairos.Timer" and name == "payload" then
      return self:error("unknown-name", key, "a timer has no `payload`",
        ("write %s.data for what user:after was given as data"):format(shown))
    elseif class.name == "kairos.User" and not field then
      if name:find "^get" and node[3] and node[3].tag == "String" then
        return self:error("unknown-name", key, "attributes are read by their names", "write user." .. node[3][1])
      end
      local journey, fn = self.types.known.classes["kairos.Journey"], self:running()
      if journey and journey.fields[name] then
        return self:error("unknown-name", key, ("user has no `%s`"):format(name), fn and fn.phases.run and "write journey:" .. name
          or 'write user:after("1h", { name = … }), or kairos.journey { … }, which has journey:' .. name)
      end
      local methods = {}
      for _, each in ipairs(class.order) do
        local about = class.fields[each].type
        if about and about.kind == "function" then methods[#methods + 1] = each end
      end
      return self:error("unknown-name", key, ("user has no `%s`"):format(name), (values.choose(name, methods) or "")
        :gsub("^write ", "write user:"))
    end
    return self:error("unknown-name", key, ("there is no `%s.%s`"):format(shown, name),
      (values.choose(name, class.order) or ""):gsub("^write ", "write " .. shown .. "."))
  end
end

--- event.user.first_name: the event knows the user's id alone.
function Walk:check_id_field(node)
  local id, key = node[1], node[2]
  if key.tag ~= "String" or id.tag ~= "Index" or id[2][1] ~= "user" then return end
  local owner = self.types:of(self.source, id[1])
  if owner and owner.kind == "class" and owner.class.name == "kairos.Event" then
    self:error("unknown-name", key, ("`%s` is the user's id"):format(name_of(id) or "event.user"), "write user." .. key[1])
  end
end

--- A field of what a rule was given for its needs: `stock`, `stock_state` and `stock_why` of each.
function Walk:check_need(key)
  local fn = self:running()
  local known, declared = {}, {}
  for rule in pairs(fn and fn.in_rules or {}) do
    if rule.unclear or rule.needs_unclear then return end
    for name in pairs(rule.needs) do
      declared[name] = true
      known[name], known[name .. "_state"], known[name .. "_why"] = true, true, true
    end
  end
  if not fn or next(fn.in_rules) == nil or known[key[1]] then return end
  self:error("unknown-name", key, ("the rule has no need `%s`"):format(key[1]), next(declared) and values.choose(key[1], declared)
    or ("declare it: needs = { %s = kairos.needs { … } } in kairos.rule"):format(key[1]))
end

--- A field of the payload, against the schemas of all types that the code at hand may be given.
function Walk:check_payload(key)
  local known, strict = {}, true
  for name in pairs(self:types_here {} or {}) do
    local schema = self.facts.schemas[name]
    if type(schema) ~= "table" or type(schema.properties) ~= "table" then return end
    strict = strict and schema.additionalProperties == false
    for member in pairs(schema.properties) do known[member] = true end
  end
  if next(known) == nil or known[key[1]] then return end
  local near = values.nearest(key[1], known)
  if not near and not strict then return end
  self:warn("payload", key, ("no schema of these events has `%s`"):format(key[1]), values.choose(key[1], known))
end

--- What a rule may not write: the event, the user's attributes as fields, and what was made while the file was loaded.
function Walk:check_target(node)
  if node.tag == "Id" then
    if not node.var then
      local in_rule = self.fn ~= nil
      if not self.told[node[1]] then
        self.told[node[1]] = true
        self.source:problem(in_rule and "error" or "warning", "global", node, ("`%s` is not declared"):format(node[1]),
          ("write local %s = …%s"):format(node[1], in_rule and " if it is for this call, user:set if it shall last" or ""))
      end
    elseif self.fn and node.var.line == self.source.state.top_line and self:running() then
      node.var.told = true
      self:error("state", node, "rules keep no state between events", ('write user:set("%s", value), and read user.%s')
        :format(node[1], node[1]))
    end
    return
  end
  if node.tag ~= "Index" then return end
  local base = self.types:of(self.source, node[1])
  local key = node[2].tag == "String" and node[2][1] or "name"
  if base and base.kind == "class" and base.class.name == "kairos.User" then
    return self:error("read-only", node, "attributes are not set like this",
      ('write user:set("%s", value)'):format(key))
  elseif base and (base.kind == "given" or base.kind == "class" and (base.class.name == "kairos.Event"
    or base.class.name == "kairos.Payload" or base.class.name == "kairos.Timer")) then
    return self:error("read-only", node, (base.class and base.class.name == "kairos.Timer" or base.path and base.path:find "^data")
      and "the timer is read-only" or "the event is read-only", "copy what you want to change into a table of your own")
  end
  local root = node[1]
  while root.tag == "Index" do root = root[1] end
  local lasting = root.tag == "Id" and root.var and root.var.line == self.source.state.top_line
  if lasting and self:running() and base and base.kind == "table" then
    root.var.told = true
    self:error("state", node, "rules keep no state between events", "write user:set, and read the attribute")
  end
end

--- Whether a body answers anything: `return x` outside of inner functions.
local function answers(node)
  if node.tag == "Return" then return node[1] ~= nil end
  if node.tag == "Function" then return false end
  for index = 1, #node do
    if type(node[index]) == "table" and answers(node[index]) then return true end
  end
  return false
end

--- A function of a rule, journey or segment: what it answers, and what it is given.
function Walk:check_function(fn)
  local why, place = unanswered[fn.field], { line = fn.line, offset = fn.offset, end_offset = fn.end_offset }
  if why and not answers(fn[2]) then
    if fn.field == "when" and fn.journey then why = "so no journey ever starts" end
    self:error("when", place, ("`%s` answers nothing, %s"):format(fn.field, why), "write return in front of its condition")
  end
  local one, two = fn[1][1], fn[1][2]
  local expected = fn.expected or {}
  local first, second = expected[1] and expected[1].name, expected[2] and expected[2].name
  if one and two and first and one[1] == second and two[1] == first then
    self:error("parameters", { line = one.line, offset = one.offset, end_offset = two.end_offset },
      ("`%s` is given the %s first, then the %s"):format(fn.field, first, second), ("write function(%s, %s)"):format(first, second))
  elseif one and fn.field == "member" and one[1] == "event" then
    self:error("parameters", one, "`member` is given the user: it is asked when what it reads changes, not about one event",
      "write function(user)")
  end
end

function Walk:check_rule(node)
  local rule = node.rule
  for _, name in ipairs(self:names_in(rule.fields.reads)) do self:use_name("segment", name) end
  for name, place in pairs(rule.on) do self.facts:use_type(self.source, place.tag == "String" and place
    or { "", tag = "String", line = place.line, offset = place.offset, end_offset = place.end_offset, name }, "on", name) end
  for _, field in ipairs { "exit", "goal", "worth" } do self:use_on(rule.fields[field], field) end
end

local declared_classes = { ["kairos.Rule"] = true, ["kairos.JourneyRule"] = true, ["kairos.Segment"] = true }

--- The last line of a rule file.
function Walk:check_end()
  local source = self.source
  local last = source.ast[#source.ast]
  if not last or last.tag ~= "Return" or not last[1] then
    local lines = select(2, source.text:gsub("\n", "")) + (source.text:find "\n$" and 0 or 1)
    local declared = self.rule_node
    if declared then
      return self:error("no-rule", { line = declared.line, offset = declared.offset, end_offset = declared[1].end_offset },
        "the rule is not given to the host", "write return kairos.rule { … }")
    end
    return self:error("no-rule", { line = math.max(lines, 1), column = 1 }, "the file returns no rule",
      "end it with return kairos.rule { … }")
  end
  local one = self.types:of(source, last[1])
  if one and one.kind == "table" and one.source == source then
    local table_node = one.node
    if table_node[1] and table_node[1].tag == "Pair" then
      return self:error("no-rule", { line = last.line, offset = last.offset, end_offset = table_node.offset },
        "this table is no rule", "write return kairos.rule { … }")
    end
  elseif one and (one.kind ~= "class" or not declared_classes[one.class.name]) and one.kind ~= "module" then
    self:error("no-rule", last[1], "the file must return a rule, a journey or a segment", "end it with return kairos.rule { … }")
  end
end

function Walk:statement(node)
  local tag = node.tag
  if tag == "Invoke" and answering[node[2][1]] then
    local base = self.types:of(self.source, node[1])
    if base and base.kind == "class" and base.class.name == "kairos.User" then
      self:warn("unused", node, ("nothing is done with what user:%s answers"):format(node[2][1]), "write it behind if or return")
    end
  elseif tag == "Invoke" and (node[2][1] == "split" or node[2][1] == "variant") then
    self:check_choice(node)
  elseif tag == "Call" and self.types:of(self.source, node) then
    local one = self.types:of(self.source, node)
    if one.kind == "class" and one.class.name == "kairos.Window" then
      self:warn("window", node, "this window has no name, so nothing can read it", "write local events = kairos.window { … }")
    end
  elseif tag == "If" then
    for index = 1, #node - 1, 2 do self:check_condition(node[index]) end
  elseif tag == "While" then
    self:check_condition(node[1])
  elseif tag == "Return" and node[1] and self.fn and self.fn.field == "for_each" then
    self:check_audience(node[1])
  elseif tag == "Return" and node[1] and self.fn and unanswered[self.fn.field] then
    self:check_condition(node[1])
  elseif tag == "OpSet" then
    local name = text_of(self.source, node[2]) or "x"
    local op = ({ add = "+", sub = "-", mul = "*", div = "/", concat = "..", mod = "%", pow = "^" })[node[1]] or "+"
    local value = text_of(self.source, node[3]) or "…"
    self:error("syntax", node, ("there is no `%s=` in Lua"):format(op), ("write %s = %s %s %s"):format(name, name, op, value))
  end
end

local is_statement = { Do = true, While = true, Repeat = true, If = true, Fornum = true, Forin = true, Local = true,
  Localrec = true, Set = true, Call = true, Invoke = true, Return = true, Goto = true, Label = true, Break = true, OpSet = true }

function Walk:block(list)
  for index = 1, #list do
    local node = list[index]
    if is_statement[node.tag] then self:statement(node) end
    self:node(node)
  end
end

function Walk:node(node)
  local tag = node.tag
  if not tag then -- a block, or a list of names or values
    local first = node[1]
    if first and is_statement[first.tag] and first.tag ~= "Call" and first.tag ~= "Invoke" or node.statements then
      return self:block(node)
    end
    for index = 1, #node do self:node(node[index]) end
    return
  end
  if tag == "Function" then
    local outer, near = self.fn, self.locals
    self.fn = node
    self.locals = setmetatable({}, { __index = near })
    local names = {}
    for name in pairs(near) do names[name] = true end
    for _, param in ipairs(node[1]) do names[param[1]] = true end
    self.locals = names
    if node.field then self:check_function(node) end
    self:block(node[2])
    self.fn, self.locals = outer, near
    return
  elseif tag == "Id" then
    return self:check_name(node)
  elseif tag == "Index" then
    local base = self.types:of(self.source, node[1])
    if base then self:check_member(base, node, node[2], false) else self:check_id_field(node) end
    self:node(node[1])
    if node[2].tag ~= "String" then self:node(node[2]) end
    return
  elseif tag == "Invoke" then
    self:check_invoke(node)
    self:node(node[1])
    for index = 3, #node do self:node(node[index]) end
    return
  elseif tag == "Call" then
    self:check_call(node)
    if node.rule then
      self.rule_node = node
      self:check_rule(node)
    end
    for index = 1, #node do self:node(node[index]) end
    return
  elseif tag == "Op" then
    self:check_operation(node)
    for index = 2, #node do self:node(node[index]) end
    return
  elseif tag == "Pair" then
    if node[1].tag ~= "String" then self:node(node[1]) end
    return self:node(node[2])
  elseif tag == "Set" then
    for _, target in ipairs(node[1]) do
      self:check_target(target)
      if target.tag == "Index" then
        self:node(target[1])
        if target[2].tag ~= "String" then self:node(target[2]) end
      end
    end
    for _, value in ipairs(node[2]) do self:node(value) end
    return
  elseif tag == "Local" or tag == "Localrec" then
    if tag == "Local" then self:check_answer(node) end
    if tag == "Localrec" then self.locals[node[1][1][1]] = true end
    for _, value in ipairs(node[2] or {}) do self:node(value) end
    for _, name in ipairs(node[1]) do self.locals[name[1]] = true end
    return
  elseif tag == "Fornum" then
    self:check_loop(node)
    for index = 2, #node - 1 do self:node(node[index]) end
    self.locals[node[1][1]] = true
    return self:block(node[#node])
  elseif tag == "Forin" then
    local list = node[2][1]
    local of = not node[2][2] and list.tag == "Index" and self.types:of(self.source, list)
    if of and (of.kind == "given" or of.kind == "table") then
      self:error("loop", list, "`for … in` goes over what ipairs or pairs answer, not over a list itself",
        ("write ipairs(%s)"):format(text_of(self.source, list) or "…"))
    end
    for _, value in ipairs(node[2]) do self:node(value) end
    for _, name in ipairs(node[1]) do self.locals[name[1]] = true end
    return self:block(node[3])
  elseif tag == "If" then
    for index = 1, #node - 1, 2 do
      self:node(node[index])
      self:block(node[index + 1])
    end
    if #node % 2 == 1 then self:block(node[#node]) end
    return
  elseif tag == "While" then
    self:check_loop(node)
    self:node(node[1])
    return self:block(node[2])
  elseif tag == "Repeat" then
    self:check_loop(node)
    self:block(node[1])
    return self:node(node[2])
  elseif tag == "Do" then
    return self:block(node)
  end
  for index = 1, #node do
    if type(node[index]) == "table" then self:node(node[index]) end
  end
end

--- Globals that the file writes: reading them is no mistake of its own.
local function written_in(node, found)
  if node.tag == "Set" then
    for _, target in ipairs(node[1]) do
      if target.tag == "Id" and not target.var then found[target[1]] = true end
    end
  end
  for index = 1, #node do
    if type(node[index]) == "table" then written_in(node[index], found) end
  end
  return found
end

--- Review one file.
---@param types table  review.types, after follow()
---@param source review.Source
---@param facts table
---@param input table
function rules.review(types, source, facts, input)
  local walk = setmetatable({ types = types, source = source, facts = facts, input = input, locals = {}, told = {}, meant = {},
    written = written_in(source.ast, {}), rule_file = source.path:find "/rule%.lua$" ~= nil }, Walk)
  walk:block(source.ast)
  if walk.rule_file then walk:check_end() end
  review_flow(walk)
end

rules.names = Walk.names

return rules
