--- What is wrong with calls: of the user's methods, of the library, of require.

local nodes = require "review.nodes"
local type_tools = require "review.types"
local values = require "review.values"

local acting, answering, name_of, text_of = nodes.acting, nodes.answering, nodes.name_of, nodes.text_of

--- Dates that are somebody's: by the configuration's clock unless told whose.
local zoned = { ["date.next"] = true, ["date.next_annual"] = true }

--- These belong at the top of a file.
local declaring = { ["kairos.window"] = true, ["kairos.throttle"] = true, ["kairos.rule"] = true, ["kairos.journey"] = true,
  ["kairos.experiment"] = true, ["kairos.interest"] = true, ["kairos.needs"] = true }

--- What the functions are for that only answer.
local answers_what = { when = "whether the rule acts", needs_if = "whether to ask", where = "whether an event is meant",
  member = "who is in the segment", for_each = "whom it reaches", flight = "with a state to begin anew with" }

---@class review.Walk
local Walk = {}

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
      if base.class.name == "kairos.Journey" and self:check_journey(node) then return end
      if base.class.name == "kairos.Interest" and name == "of" then self:check_of(node, base) end
      return values.check_call(self, node, 3, field.type, (name_of(node[1]) or "it") .. ":" .. name)
    end
    local fn = self:running()
    if fn and fn.phases.run and (name == "after" or name == "at" or name == "cancel") then
      return self:error("journey", { line = node.line, offset = node.offset, end_offset = node[2].end_offset },
        "a journey has no timers: it waits", name == "at" and 'write journey:wait_until "next weekday 09:00"'
        or name == "cancel" and "write exit = { on = … } in kairos.journey" or 'write journey:wait "1h"')
    end
    local using = name == "allow" or name == "once" -- they use up what they answer
    if acting[name] and phases_of(fn).when or (acting[name] or using) and phases_of(fn).member then
      self:error("when", { line = node.line, offset = node.offset, end_offset = node[2].end_offset },
        ("`%s` only answers %s"):format(fn.field or "when", answers_what[fn.field] or answers_what.when),
        phases_of(fn).member and 'write it in a rule with on = kairos.segment.entered "…"'
        or ("write %s:%s in %s"):format(fn.journey and "journey" or "user", name, fn.journey and "run" or "act"))
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
    if name == "emit" then self:check_emit(node) end
    if name == "in_segment" and self:check_in_segment(node) then return end
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
  if not callee and name_of(target) == "math.random" then self:check_asked(node, "math.random") end
  if not callee then return end
  if callee.name and self:check_asked(node, callee.name) then return end
  if callee.kind == "function" and callee.annotated then
    local name = callee.name or "it"
    if name == "kairos.window" then
      local window = type_tools.window_of(self.source, node)
      self.facts.windows[#self.facts.windows + 1] = window
      local of = window.fields.of
      if of and of.tag == "String" then self.facts:use_type(self.source, of, "of") end
    end
    if name == "kairos.interest" then self:check_interest(node) end
    if name == "kairos.experiment" then self:check_experiment(node) end
    if declaring[name] and self:running() then
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

return Walk
