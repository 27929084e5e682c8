--- What is wrong within one rule file: names, windows, the event, the user, timers, sends, and what can never be so.

local type_tools = require "review.types"
local values = require "review.values"

local rules = {}

--- user: these ask for effects, which `when` may not.
local acting = { send = true, set = true, after = true, at = true, cancel = true }
--- These only answer: to ask and not to look is a slip.
local answering = { count = true, sum = true, last = true, first = true, distinct = true }
local comparison = { eq = "==", ne = "~=", lt = "<", le = "<=", gt = ">", ge = ">=" }
--- What other languages call what Lua has.
local foreign = { null = "nil", None = "nil", undefined = "nil", NULL = "nil", Nil = "nil", NIL = "nil",
  True = "true", TRUE = "true",
  False = "false", FALSE = "false", this = "user", self = "user", AND = "and", OR = "or", NOT = "not", console = false,
  len = "#", now = "kairos.now()" }
local not_lua = { idiv = { "//", "math.floor(a / b)" }, band = { "&", "and" }, bor = { "|", "or" }, shl = { "<<", "a * 2 ^ b" },
  shr = { ">>", "math.floor(a / 2 ^ b)" }, bnot = { "~", "not" }, bxor = { "~", "~= to compare" } }

--- Dates that are somebody's: by the configuration's clock unless told whose.
local zoned = { ["date.next"] = true, ["date.next_annual"] = true }

--- The name of an expression as it stands: user, event.payload.
local function name_of(node)
  if node.tag == "Id" then return node[1] end
  if node.tag == "Index" and node[2].tag == "String" then
    local base = name_of(node[1])
    return base and base .. "." .. node[2][1]
  end
end

--- What a piece of the file says.
local function text_of(source, node)
  local ok, text = pcall(function() return source.state.source:get_substring(node.offset, node.end_offset) end)
  return ok and #text <= 60 and not text:find "\n" and text or nil
end

---@class review.Walk
---@field types table
---@field source review.Source
---@field input table
---@field facts table  of the whole: sends, types used, attributes
local Walk = {}
Walk.__index = Walk

function Walk:error(code, node, message, instead) return self.source:problem("error", code, node, message, instead) end
function Walk:warn(code, node, message, instead) return self.source:problem("warning", code, node, message, instead) end

--- The rules and phases that the code at hand runs for.
function Walk:running()
  local fn = self.fn
  while fn and not fn.phases do fn = fn.outer end
  return fn
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
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
  if foreign[name] and name ~= "self" and name ~= "this" then
    return self:error("unknown-name", node, ("there is nothing named `%s` here"):format(name), "write " .. foreign[name])
  end
  local instead = self.input.missing[name]
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
  if field then
    if called and not (field.type and field.type.kind == "function") and class.name ~= "kairos.User" then
      self:error("unknown-name", key, ("`%s.%s` is no function"):format(shown, name))
    end
    return
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
  local fn = self:running()
  if not fn then return end
  local known, strict = {}, true
  for rule in pairs(fn.in_rules) do
    if rule.on_unclear then return end
    for name in pairs(rule.on) do
      local schema = self.facts.schemas[name]
      if type(schema) ~= "table" or type(schema.properties) ~= "table" then return end
      strict = strict and schema.additionalProperties == false
      for member in pairs(schema.properties) do known[member] = true end
    end
  end
  if next(known) == nil or known[key[1]] then return end
  local near = values.nearest(key[1], known)
  if not near and not strict then return end
  self:warn("payload", key, ("no schema of these events has `%s`"):format(key[1]), values.choose(key[1], known))
end

--- Reading a window: the right method, and its key.
function Walk:check_read(node, method)
  local given = node[3]
  local one = given and self.types:of(self.source, given)
  if not given then
    return self:error("argument", node, ("user:%s needs a window"):format(method), ("write user:%s(window)"):format(method))
  end
  if not one then return end
  if one.kind ~= "class" or one.class.name ~= "kairos.Window" then
    local value = one.kind == "string" and one.value
    return self:error("argument", given, ("user:%s takes a window, not %s"):format(method,
      one.kind == "string" and "the name of an event type" or "this"),
      ('write local events = kairos.window { of = "%s", over = "7d" } at the top of the file, and user:%s(events) here')
        :format(value or "order.completed", method))
  end
  local window = one.window
  if not window then return end
  window.read = true
  if window.unclear then return end
  if window.method ~= method then
    return self:error("window", node[2], ("this window answers user:%s, not user:%s"):format(window.method, method),
      method == "count" and ("write user:%s, or declare a window without `%s`"):format(window.method, window.method)
        or ('write user:%s, or declare a window with %s = "payload.…"'):format(window.method, method))
  end
  local by = window.fields.by
  if by and not node[4] then
    local path = by.tag == "String" and by[1] or "payload.…"
    self:error("window", node, ("this window is kept apart by %s"):format(path),
      ("write which: user:%s(%s, event.%s)"):format(method, name_of(given) or "window", path))
  elseif not by and node[4] then
    self:error("window", node[4], "this window has no key",
      ("write user:%s(%s), or give the window by = \"payload.…\""):format(method, name_of(given) or "window"))
  end
end

--- The rules whose `timers` a call of user:after in the code at hand means; nil if that cannot be told.
function Walk:timer_rules()
  local fn = self:running()
  if not fn then return nil end
  local list = {}
  for rule in pairs(fn.in_rules) do
    if rule.unclear or rule.timers_unclear then return nil end
    list[#list + 1] = rule
  end
  return #list > 0 and list or nil
end

function Walk:check_timer(spec)
  local one = spec and self.types:of(self.source, spec)
  local name, data, cancel_on
  if one and one.kind == "table" then
    for _, item in ipairs(one.node) do
      if item.tag == "Pair" and item[1].tag == "String" then
        if item[1][1] == "name" then name = item[2] end
        if item[1][1] == "data" then data = item[2] end
        if item[1][1] == "cancel_on" then cancel_on = item[2] end
      end
    end
  end
  if cancel_on and cancel_on.tag == "String" then self.facts:use_type(self.source, cancel_on, "cancel_on") end
  local fn = self:running()
  if not name or name.tag ~= "String" then
    for rule in pairs(fn and fn.in_rules or {}) do rule.timers_set_unclear = true end
    return
  end
  for rule in pairs(fn and fn.in_rules or {}) do
    rule.timers_set[name[1]] = rule.timers_set[name[1]] or {}
    table.insert(rule.timers_set[name[1]], data or false)
  end
  for _, rule in ipairs(self:timer_rules() or {}) do
    if not rule.timers[name[1]] then
      local near = values.nearest(name[1], rule.timers)
      if near then rule.timers_set[near] = rule.timers_set[near] or {} end
      self:error("timer", name, ("the rule has no timer `%s`"):format(name[1]), near and ('write "%s"'):format(near)
        or ("write timers = { %s = function(timer, user) … end } in kairos.rule"):format(name[1]))
      return
    end
  end
end

function Walk:check_set(node)
  local name = node[3]
  if not name then
    return self:error("argument", node, "user:set needs a name and a value", 'write user:set("name", value)')
  end
  if not node[4] and name.tag ~= "Call" and name.tag ~= "Invoke" and name.tag ~= "Dots" then
    return self:error("argument", node, "user:set needs a value", ("write user:set(%s, true); nil removes it")
      :format(text_of(self.source, name) or '"name"'))
  end
  if name.tag ~= "String" then
    self.facts.attributes_unclear = self.facts.attributes_unclear or name.tag ~= "String"
    return
  end
  local class = self.types.known.classes["kairos.User"]
  if class and class.fields[name[1]] then
    return self:error("argument", name, ("`%s` means something else already: user.%s"):format(name[1], name[1]),
      "choose another name")
  end
  self.facts.attributes[name[1]] = true
end

--- A user:send: what it says is kept for the campaign's templates, and checked against what there is.
function Walk:check_send(node)
  local spec = node[3]
  local one = spec and self.types:of(self.source, spec)
  local send = { source = self.source, node = node, fields = {}, fn = self:running() }
  self.facts.sends[#self.facts.sends + 1] = send
  if not one or one.kind ~= "table" then
    send.unclear = true
    return
  end
  for _, item in ipairs(one.node) do
    if item.tag == "Pair" and item[1].tag == "String" then
      local name, class = item[1][1], self.types.known.classes["kairos.SendSpec"]
      name = class and not class.fields[name] and values.nearest(name, class.order) or name -- said already
      send.fields[name] = send.fields[name] or item[2]
    else
      send.unclear = true
    end
  end
  send.unclear = send.unclear or spec ~= one.node
  send.place = { line = node[2].line, offset = node[1].offset, end_offset = node[2].end_offset }
  local data = send.fields.data
  local data_type = data and self.types:of(self.source, data)
  if data_type and data_type.kind == "class" and data_type.class.name == "kairos.Event" then
    local name = name_of(data) or "event"
    self:warn("send", data, "the template would see the event's own fields, not what its sender says",
      ("write data = %s.payload"):format(name))
  end
end

--- The phases that a function runs in.
local function phases_of(fn) return fn and fn.phases or {} end

--- The template that something named send is given, also where it cannot be told whose it is.
function Walk:note_template(spec)
  for _, item in ipairs(spec and spec.tag == "Table" and spec or {}) do
    if item.tag == "Pair" and item[1][1] == "template" and item[2].tag == "String" then
      self.facts.named_templates[self.source.campaign .. "/" .. item[2][1]] = true
    end
  end
end

function Walk:check_invoke(node)
  local base = self.types:of(self.source, node[1])
  local name = node[2][1]
  if name == "send" then self:note_template(node[3]) end
  if not base then return end
  if base.kind == "class" and base.name == "kairos" then
    return self:error("call", node[2], ("kairos.%s is called with a dot"):format(name), ("write kairos.%s"):format(name))
  end
  if base.kind == "given" then return end
  if base.kind == "class" then
    local field = self.types:member(base.class, name)
    if not field then return self:check_member(base, node, node[2], true) end
    if not field.type or field.type.kind ~= "function" then return end
    if base.class.name ~= "kairos.User" then
      return values.check_call(self, node, 3, field.type, (name_of(node[1]) or "it") .. ":" .. name)
    end
    local fn = self:running()
    if acting[name] and phases_of(fn).when then
      self:error("when", { line = node.line, offset = node.offset, end_offset = node[2].end_offset },
        ("`when` only answers whether the rule acts"):format(), ("write user:%s in act"):format(name))
    elseif not fn and not self.fn and self.rule_file then
      self:error("call", node, ("there is no user while the file is loaded"), ("write user:%s in act"):format(name))
    end
    if answering[name] then return self:check_read(node, name) end
    if name == "set" then return self:check_set(node) end
    if name == "after" or name == "at" then self:check_timer(node[4]) end
    if name == "at" and node[3] and node[3].tag == "String" then
      return self:error("argument", node[3], "user:at takes a moment in milliseconds, not text",
        ("write kairos.date.%s(%s, user)"):format(node[3][1]:find "^%d%d%d%d%-" and "parse" or "next",
          text_of(self.source, node[3]) or '"friday 17:00"'))
    end
    if name == "cancel" then self:check_cancel(node) end
    if name == "send" then self:check_send(node) end
    values.check_call(self, node, 3, field.type, "user:" .. name)
  elseif base.kind == "string" and not self.types.names.string[name] then
    self:error("unknown-name", node[2], ("text has no `%s`"):format(name), values.choose(name, self.types.names.string))
  end
end

function Walk:check_cancel(node)
  local name = node[3]
  if not name or name.tag ~= "String" then return end
  local list = self:timer_rules()
  if not list then return end
  for _, rule in ipairs(list) do
    if rule.timers[name[1]] then return end
  end
  -- Timers are the campaign's: another rule of the file may have it.
  for _, rule in ipairs(self.types.rules) do
    local mine = rule.source.campaign == self.source.campaign
    if mine and (rule.timers_unclear or rule.unclear or rule.timers[name[1]]) then return end
  end
  local near = values.nearest(name[1], list[1].timers)
  self:warn("timer", name, ("the rule has no timer `%s`"):format(name[1]), near and ('write "%s"'):format(near)
    or "delete this line, or name one of its timers")
end

function Walk:check_require(node)
  local name = node[2]
  if self.fn then
    return self:error("require", node, "require belongs at the top of the file, outside of functions", "move it to the top")
  end
  if not name or name.tag ~= "String" then return end
  if name[1] == "kairos" then return end
  if self.types:module(self.source, name[1]) then return end
  if name[1]:find "^kairos%." then
    return self:error("require", name, "the library is one module", 'write require "kairos"')
  end
  local known, instead = {}, self.input.missing[name[1]]
  for path in pairs(self.types.sources) do
    local folder, file = path:match "^([^/]+)/([%w_]+)%.lua$"
    if folder == self.source.campaign and file ~= "rule" then known[file] = true end
    if folder == "shared" then known["shared." .. file] = true end
  end
  known.kairos = true
  local near = values.nearest(name[1], known)
  local folder, file = self.source.campaign, name[1]
  if file:find "^shared%." then folder, file = "shared", file:sub(8) end
  self:error("require", name, ("there is no module `%s`"):format(name[1]), near and ('write require "%s"'):format(near)
    or instead or ("a rule has kairos, and modules of your own%s"):format(file:find "^[%w_]+$"
      and (": write rules/%s/%s.lua"):format(folder, file) or ""))
end

function Walk:check_call(node)
  local target = node[1]
  if target.tag == "Id" and not target.var and target[1] == "require" then return self:check_require(node) end
  if target.tag == "Id" and not target.var and target[1] == "print" then
    return self:error("call", target, "a rule has nowhere to print to, and fails here",
      "delete it: what a rule read and decided is shown by kairos why USER --replay")
  end
  if target.tag == "Index" and target[2].tag == "String" then
    local base = self.types:of(self.source, target[1])
    local name = target[2][1]
    if name == "send" then self:note_template(node[2]) end
    if base and base.kind == "class" then
      local field = self.types:member(base.class, name)
      if field and field.type and field.type.kind == "function" and field.type.method then
        local shown = name_of(target[1]) or "user"
        return self:error("call", { line = target.line, offset = target.offset, end_offset = target.end_offset },
          ("%s.%s is called with a colon"):format(shown, name), ("write %s:%s"):format(shown, name))
      elseif not field and base.class.name == "kairos.User" then
        return self:error("call", { line = target.line, offset = target.offset, end_offset = target.end_offset },
          ("%s.%s is an attribute, no function"):format(name_of(target[1]) or "user", name), name:find "^get" and node[2]
          and node[2].tag == "String" and "write user." .. node[2][1] or "delete the parentheses")
      end
    end
  end
  local callee = self.types:of(self.source, target)
  if not callee then return end
  if callee.kind == "function" and callee.annotated then
    local name = callee.name or "it"
    if name == "kairos.window" then
      local window = type_tools.window_of(self.source, node)
      self.facts.windows[#self.facts.windows + 1] = window
      local of = window.fields.of
      if of and of.tag == "String" then self.facts:use_type(self.source, of, "of") end
    end
    if (name == "kairos.window" or name == "kairos.throttle" or name == "kairos.rule") and phases_of(self:running()) ~= nil
      and self:running() then
      return self:error("call", { line = node.line, offset = target.offset, end_offset = target.end_offset },
        ("%s belongs at the top of the file: the host must know it before an event comes"):format(name), "move it to the top")
    end
    if zoned[name] and node[2] and not node[3] and self:running() then
      self:warn("zone", node, "this goes by the clock of the configuration's time_zone, not by the user's",
        ("write %s(%s, user)"):format(name_of(target) or name, text_of(self.source, node[2]) or "…"))
    end
    if name == "kairos.now" and not self.fn and self.rule_file then
      self:error("call", node, "kairos.now() is known while a rule runs, not while its file is loaded",
        "write it in when, act or a timer")
    end
    values.check_call(self, node, 2, callee.annotated, name)
  elseif callee.kind == "class" and not callee.class.open or callee.kind == "string" or callee.kind == "number" then
    if callee.kind == "class" and callee.class.call then
      return values.check_call(self, node, 2, callee.class.call, callee.name or callee.class.name)
    end
    self:error("call", target, ("%s is no function"):format(name_of(target) or "this"))
  end
end

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
  if times > 1 then return end
  self:warn("nil", node, "a user may have none, and joining text with nil fails", ('write (%s or "")'):format(shown))
end

--- event.type == "…" where the rule never gets such an event.
function Walk:check_event_type(index, text)
  if index[2].tag ~= "String" or index[2][1] ~= "type" then return end
  local base = self.types:of(self.source, index[1])
  if not base or base.kind ~= "class" or base.class.name ~= "kairos.Event" then return end
  local fn = self:running()
  if not fn then return end
  local known = {}
  for rule in pairs(fn.in_rules) do
    if rule.unclear or rule.on_unclear then return end
    for name in pairs(rule.on) do known[name] = true end
  end
  if next(known) == nil or known[text[1]] then return end
  local near = values.nearest(text[1], known)
  self:warn("comparison", text, ('the rule gets no event of type "%s"'):format(text[1]), near and ('write "%s"'):format(near)
    or ('add it to its `on`, which has: %s'):format(table.concat(sorted(known), ", ")))
end

--- A condition that is a number or text is true whatever it is.
function Walk:check_condition(node)
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

function Walk:check_rule(node)
  local rule = node.rule
  for name, place in pairs(rule.on) do self.facts:use_type(self.source, place.tag == "String" and place
    or { "", tag = "String", line = place.line, offset = place.offset, end_offset = place.end_offset, name }, "on", name) end
  local when = rule.fields.when
  local fn = when and self.types:function_of(self.source, when)
  if fn and not answers(fn[2]) then
    self:error("when", { line = when.line, offset = when.offset, end_offset = when.end_offset },
      "`when` answers nothing, so the rule never acts", "write return in front of its condition")
  end
  for _, field in ipairs { "when", "act" } do
    local one = rule.fields[field] and self.types:function_of(self.source, rule.fields[field])
    local params = one and one[1]
    if params and params[1] and params[1][1] == "user" and params[2] and params[2][1] == "event" then
      self:error("parameters", { line = params[1].line, offset = params[1].offset, end_offset = params[2].end_offset },
        ("`%s` is given the event first, then the user"):format(field), "write function(event, user)")
    end
  end
end

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
  elseif one and (one.kind ~= "class" or one.class.name ~= "kairos.Rule") and one.kind ~= "module" then
    self:error("no-rule", last[1], "the file must return a rule", "end it with return kairos.rule { … }")
  end
end

function Walk:statement(node)
  local tag = node.tag
  if tag == "Invoke" and answering[node[2][1]] then
    local base = self.types:of(self.source, node[1])
    if base and base.kind == "class" and base.class.name == "kairos.User" then
      self:warn("unused", node, ("nothing is done with what user:%s answers"):format(node[2][1]), "write it behind if or return")
    end
  elseif tag == "Call" and self.types:of(self.source, node) then
    local one = self.types:of(self.source, node)
    if one.kind == "class" and one.class.name == "kairos.Window" then node.dropped = true end
  elseif tag == "If" then
    for index = 1, #node - 1, 2 do self:check_condition(node[index]) end
  elseif tag == "While" then
    self:check_condition(node[1])
  elseif tag == "Return" and node[1] and self.fn and self.fn.is_when then
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
      local when = node.rule.fields.when
      local fn = when and self.types:function_of(self.source, when)
      if fn then fn.is_when = true end
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
    if tag == "Localrec" then self.locals[node[1][1][1]] = true end
    for _, value in ipairs(node[2] or {}) do self:node(value) end
    for _, name in ipairs(node[1]) do self.locals[name[1]] = true end
    return
  elseif tag == "Fornum" then
    for index = 2, #node - 1 do self:node(node[index]) end
    self.locals[node[1][1]] = true
    return self:block(node[#node])
  elseif tag == "Forin" then
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
    self:node(node[1])
    return self:block(node[2])
  elseif tag == "Repeat" then
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

--- luacheck's own findings, in our words.
local function report_flow(walk)
  local source, windows = walk.source, {}
  for _, window in ipairs(walk.facts.windows) do
    if window.source == source then windows[window.node] = window end
  end
  for _, warning in ipairs(source.state.warnings) do
    local code, name = warning.code, warning.name
    local place = { line = warning.line, column = warning.column, end_column = (warning.end_column or warning.column) + 1 }
    if code == "211" or code == "231" or code == "241" then
      local declared, told
      for _, statement in ipairs(source.ast) do
        if statement.tag == "Local" and statement.line == warning.line then
          for index, target in ipairs(statement[1]) do
            if target[1] == name and statement[2] and statement[2][index] then declared = statement[2][index] end
            told = told or target[1] == name and target.var and target.var.told
          end
        end
      end
      local window = declared and windows[declared]
      if walk.meant[name] or told then
        goto continue -- what is wrong has been said
      end
      if window then
        window.told = true
        walk:warn("window", place, ("the window `%s` is never read"):format(name),
          ("write user:%s(%s%s), or delete it"):format(window.method, name, window.fields.by and ", key" or ""))
      elseif name ~= "kairos" and not name:find "^_" then
        walk:warn("unused", place, (code == "211" and "`%s` is never used" or "`%s` is set, but never read"):format(name),
          "delete it")
      end
    elseif code == "311" and not name:find "^_" then
      walk:warn("unused", place, ("what `%s` is given here is never read"):format(name), "delete this")
    elseif code == "321" then
      walk:warn("unused", place, ("`%s` has no value yet here"):format(name), "give it one first")
    elseif code == "221" then
      walk:warn("unused", place, ("`%s` never gets a value"):format(name), ("write local %s = …"):format(name))
    elseif code:find "^4[12]" and name ~= "_" and name ~= "..." then
      walk:warn("shadow", place, ("another `%s` of line %d is meant by this name above"):format(name, warning.prev_line),
        code:find "^41" and "delete `local`, or choose another name" or "choose another name")
    elseif code:find "^43" and not name:find "^_" and name ~= "..." and name ~= "event" and name ~= "user" and name ~= "timer" then
      walk:warn("shadow", place, ("`%s` hides the one of line %d"):format(name, warning.prev_line), "choose another name")
    elseif code == "511" then
      walk:warn("unreachable", place, "this is never reached", "delete it, or move it above")
    end
    ::continue::
  end
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
  report_flow(walk)
end

return rules
