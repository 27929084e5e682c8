--- What is wrong with journeys and segments: loops in which no time passes, waits that may last for ever, what came of a wait that
-- nobody asked about, shares that do not add up, clocks and dice where a segment is asked, names that nothing declares.

local values = require "review.values"

--- In these time passes.
local waits = { wait = true, wait_until = true, wait_for = true }
--- At most so many answers of the host are kept of a journey (src/state/journey.h).
local STEPS_MAX = 1000

---@class review.Walk
local Walk = {}

local function is_method(node, names)
  return node.tag == "Invoke" and names[node[2][1]] or false
end

--- Look through the code of a body, not of functions in it. `visit` answers true to go no deeper.
local function through(node, visit)
  if node.tag == "Function" or visit(node) then return end
  for index = 1, #node do
    if type(node[index]) == "table" then through(node[index], visit) end
  end
end

--- What a loop's body does: waits, how often it asks the host, whether it can be left, whether it may do what cannot be seen.
local function body_of(self, body)
  local found = { asks = 0, sets = {} }
  local function look(node, inner)
    through(node, function(one)
      local tag = one.tag
      if tag == "Invoke" then
        local base = self.types:of(self.source, one[1])
        if base and base.kind == "class" and base.class.name == "kairos.Journey" then
          found.asks = found.asks + 1
          if waits[one[2][1]] then found.waits = one end
          if one[2][1] == "set" then found.sets[one[3] and one[3].tag == "String" and one[3][1] or true] = true end
          if one[2][1] == "continue" then found.leaves = true end
        end
      elseif tag == "Call" then
        for index = 2, #one do
          local given = self.types:of(self.source, one[index])
          if given and given.kind == "class" and given.class.name == "kairos.Journey" then found.hidden = true end
        end
        if one[1].tag == "Id" and one[1][1] == "error" and not one[1].var then found.leaves = true end
      elseif tag == "Return" or tag == "Goto" or tag == "Break" and not inner then
        found.leaves = true
      elseif (tag == "While" or tag == "Repeat" or tag == "Fornum" or tag == "Forin") and not inner then
        look(one, true)
        return true
      end
    end)
  end
  for index = 1, #body do look(body[index], false) end
  return found
end

local always = { True = true, Number = true, String = true }
local never = { False = true, Nil = true }

local loops = { While = "while", Repeat = "repeat", Fornum = "for" }

--- A loop in a journey's `run`.
function Walk:check_loop(node)
  local fn = self:running()
  if not fn or not fn.phases.run then return end
  local tag = node.tag
  local place = { line = node.line, offset = node.offset, end_offset = node.offset + #(loops[tag]) - 1 }
  if tag == "Fornum" then
    local from, to, step = node[2], node[3], node[5] and node[4] or nil
    if from.tag ~= "Number" or to.tag ~= "Number" or step and step.tag ~= "Number" then return end
    local times = math.floor((tonumber(to[1]) - tonumber(from[1])) / (step and tonumber(step[1]) or 1)) + 1
    local found = body_of(self, node[#node])
    if found.asks * times > STEPS_MAX and not found.leaves then
      self:warn("loop", place, ("a journey keeps %d steps, and this loop takes %d"):format(STEPS_MAX, found.asks * times),
        "write journey:continue(state) now and then: it begins anew with what you hand it")
    end
    return
  end
  local condition, body = node[1], node[2]
  if tag == "Repeat" then condition, body = node[2], node[1] end
  local endless = tag == "While" and always[condition.tag] or tag == "Repeat" and never[condition.tag]
  local found = body_of(self, body)
  if found.leaves or found.hidden then return end
  if endless and found.waits then
    return self:warn("loop", place, ("this never ends, and a journey keeps %d steps"):format(STEPS_MAX),
      "write journey:continue(state) in place of the loop, or return when it is over")
  elseif endless then
    return self:error("loop", place, "this never ends, and in it no time passes",
      'write journey:wait "1d" in it, or return when it is over')
  end
  if found.waits then return end
  local asked
  through(condition, function(one)
    local base = (one.tag == "Invoke" or one.tag == "Index") and self.types:of(self.source, one[1])
    local class = base and base.kind == "class" and base.class.name
    if class == "kairos.User" or class == "kairos.Journey" then asked = one end
  end)
  local set = asked and asked.tag == "Index" and asked[2].tag == "String" and found.sets[asked[2][1]]
  if asked and not set and not found.sets[true] then
    self:error("loop", place, "in this loop no time passes, so what it asks for never changes", 'write journey:wait "1d" in it')
  end
end

--- The options of a call that are written there, by name.
local function options_of(self, node)
  local one, fields = node and self.types:of(self.source, node), {}
  if not one or one.kind ~= "table" then return nil end
  for _, item in ipairs(one.node) do
    if item.tag ~= "Pair" or item[1].tag ~= "String" then return nil end
    fields[item[1][1]] = item[2]
  end
  return fields
end

--- Event types where they are waited for, or end a journey.
function Walk:use_types(node, how)
  local one = node and self.types:of(self.source, node)
  if one and one.kind == "string" and one.value then
    self.facts:use_type(self.source, node, how, one.value)
  elseif one and one.kind == "table" and one.source == self.source then
    for _, item in ipairs(one.node) do
      if item.tag == "String" then self.facts:use_type(self.source, item, how) end
    end
  end
end

--- journey:wait_for { on, within, where }
function Walk:check_wait_for(node)
  local fields = options_of(self, node[3])
  if not fields then return end
  self:use_types(fields.on, "wait_for")
  if fields.on and not fields.within then
    local exits, sure = false, true
    local fn = self:running()
    for rule in pairs(fn and fn.in_rules or {}) do
      sure = sure and rule.kind == "journey" and not rule.unclear
      exits = exits or rule.fields.exit ~= nil
    end
    if fn and sure and not exits then
      self:warn("wait", node[2], "without `within` this may wait for ever", 'write within = "7d": then it answers nil')
    end
  end
end

--- journey:split { name, this = 50, that = 50 }
function Walk:check_split(node)
  local spec = node[3]
  if not spec or spec.tag ~= "Table" then return end
  local sum, sides, fits, named = 0, {}, true, false
  for _, item in ipairs(spec) do
    if item.tag ~= "Pair" or item[1].tag ~= "String" then
      return self:error("split", item, "journey:split takes each side with its weight",
        ("write %s = 50"):format(item.tag == "String" and item[1] or "side"))
    end
    local name, value = item[1][1], item[2]
    if name == "name" then
      named = true
    elseif value.tag == "String" then
      local number = value[1]:match "^%s*(%d+%.?%d*)"
      self:error("split", value, ("the weight of `%s` must be a number, not \"%s\""):format(name, value[1]),
        ("write %s = %s"):format(name, number or "50"))
      fits = false
    else
      sides[#sides + 1] = item
      fits = fits and value.tag == "Number" and tonumber(value[1]) >= 5
      sum = sum + (value.tag == "Number" and tonumber(value[1]) or 0)
    end
  end
  if not named then
    self:error("split", { line = spec.line, offset = spec.offset, end_offset = spec.offset },
      "journey:split needs `name`, by which a user keeps his side", 'write name = "offer"')
  end
  local last = sides[#sides]
  if #sides == 1 and fits then
    self:warn("split", last[1], "everybody takes the only branch",
      ("write another beside it: { %s = 50, … = 50 }"):format(last[1][1]))
  elseif #sides > 1 and fits and sum ~= 100 and sum > 60 and sum < 160 then
    self:warn("split", last[2], ("these shares make %s %%, not 100"):format(sum), ("write %s = %s, if they are meant as percent")
      :format(last[1][1], 100 - sum + tonumber(last[2][1])))
  end
end

--- journey:wait_until "in 2 hours": that is a time to wait. @return whether it has been said
function Walk:check_wait_until(node)
  local text = node[3] and node[3].tag == "String" and node[3][1] or ""
  local number, unit = text:lower():match "^%s*in%s+(%d+)%s*([hm])[%a]*%s*$"
  number, unit = number or text:lower():match "^%s*(%d+)%s*([hmd])$", unit or text:lower():match "^%s*%d+%s*([hmd])$"
  if not number or text:lower():find "month" then return false end
  self:error("wait", node[3], "this is a time to wait, and no moment", ('write journey:wait "%s%s"'):format(number, unit))
  return true
end

--- What a wait answered may be nil; whoever reads it must have asked.
function Walk:check_answer(node)
  for index, value in ipairs(node[2] or {}) do
    local target = node[1][index]
    local fields = is_method(value, { wait_for = true }) and options_of(self, value[3])
    if target and fields and fields.within and target.var and self.fn then
      local asked, read
      local function is_it(one) return one and one.tag == "Id" and one.var == target.var end
      local function look(one)
        local tag = one.tag
        if tag == "If" then
          for branch = 1, #one - 1, 2 do asked = asked or is_it(one[branch]) end
        elseif tag == "While" then
          asked = asked or is_it(one[1])
        elseif tag == "Op" then
          asked = asked or is_it(one[2]) or is_it(one[3])
        elseif tag == "Call" or tag == "Return" then
          for each = tag == "Call" and 2 or 1, #one do asked = asked or is_it(one[each]) end
        elseif tag == "Index" and is_it(one[1]) then
          read = read or one
        end
        for each = 1, #one do
          if type(one[each]) == "table" then look(one[each]) end
        end
      end
      look(self.fn[2])
      if read and not asked then
        self:error("nil", read[1], ("`%s` is nil where nothing came within the time"):format(target[1]),
          ("write if %s then … end around it"):format(target[1]))
      end
    end
  end
end

--- A call of a journey's method. @return whether all that is wrong with it has been said
function Walk:check_journey(node)
  local name, fn = node[2][1], self:running()
  if fn and (fn.field == "where" or fn.field == "flight") then
    self:error("when", { line = node.line, offset = node.offset, end_offset = node[2].end_offset },
      fn.field == "where" and "`where` only answers whether an event is meant"
      or "`flight` only answers with a state to begin anew with", ("write journey:%s in run"):format(name))
    return true
  end
  if name == "wait_until" then return self:check_wait_until(node) end
  if name == "wait_for" then
    self:check_wait_for(node)
  elseif name == "split" then
    self:check_split(node)
  elseif name == "emit" then
    self:check_emit(node)
  elseif name == "set" then
    self:check_set(node, "journey")
  elseif name == "send" then
    self:check_send(node)
  end
end

--- user:emit { type, payload }, or of a journey with both as arguments.
function Walk:check_emit(node)
  local fields = options_of(self, node[3])
  local place = fields and fields.type or not fields and node[3]
  local one = place and self.types:of(self.source, place)
  if not one or one.kind ~= "string" or not one.value then return end
  if one.value:find "^segment%." then
    return self:error("event-type", place, "types that begin with segment. are the host's own", ('write "%s"')
      :format((one.value:gsub("^segment%.", ""))))
  end
  self.facts:use_type(self.source, place, "emit", one.value)
  self.facts.emitted[one.value] = true
  local fn = self:running()
  for rule in pairs(fn and fn.in_rules or {}) do
    if rule.kind == "rule" and rule.on[one.value] and not rule.fields.when then
      self:warn("event-type", place, "this rule is given what it emits, and emits it again: 32 times at most, then it fails",
        "emit another type, or ask in when whether it has done so")
      break
    end
  end
end

--- Calls that mean something else, or name something, beside what their annotation says.
function Walk:check_asked(node, name)
  local fn = self:running()
  if name:find "segment%.reached$" and node[2] and node[2].tag == "String" then
    self:error("argument", node[2], "kairos.segment.reached takes a moment in milliseconds, not text",
      ('write kairos.date.parse("%s"), or an attribute that holds one'):format(node[2][1]))
    return true
  end
  if name:find "segment%.entered$" or name:find "segment%.left$" or name:find "segment%.members$" then
    self:use_name("segment", node[2])
  elseif not fn or not fn.phases.member then
    return
  elseif name == "kairos.now" then
    self:error("segment", node, "a segment is asked when what it reads changes, not as time passes",
      "write kairos.segment.reached(moment), or ask a window: the host asks again when these change")
  elseif name == "sample.chance" or name == "math.random" then
    self:error("segment", node, "who is in a segment is no matter of chance: each event would let users come and go",
      'write kairos.sample.share(user, "a name for it", "25%")')
  end
end

--- Whether the code at hand runs for each of an event's users.
function Walk:is_fan_out()
  local fn, any = self:running(), false
  if not fn or fn.field == "for_each" then return false end
  for rule in pairs(fn.in_rules) do
    any = true
    if not rule.for_each then return false end
  end
  return any
end

--- kairos.interest { of, … }: its event types.
function Walk:check_interest(node)
  local fields = options_of(self, node[2])
  if fields then self:use_types(fields.of, "of") end
end

--- kairos.experiment { variants = { a = 50, b = 50 }, … }
function Walk:check_experiment(node)
  local fields = options_of(self, node[2])
  local one = fields and fields.variants and self.types:of(self.source, fields.variants)
  for _, item in ipairs(one and one.kind == "table" and one.source == self.source and one.node or {}) do
    if item.tag == "Pair" and item[1].tag == "String" and item[2].tag == "String" then
      self:error("argument", item[2], ("the weight of `%s` must be a number, not \"%s\""):format(item[1][1], item[2][1]),
        ("write %s = %s"):format(item[1][1], item[2][1]:match "^%s*(%d+%.?%d*)" or "50"))
    end
  end
end

--- watchers:of(key)
function Walk:check_of(node, base)
  local fields = base.interest and options_of({ types = self.types, source = base.interest.source }, base.interest.node)
  if not fields then return end
  local by = fields.by and fields.by.tag == "String" and fields.by[1]
  local name = node[1].tag == "Id" and node[1][1] or "interest"
  if fields.by and not node[3] then
    self:error("interest", node, ("this interest is kept apart by %s"):format(by or "a key"),
      ("write %s:of(event.%s)"):format(name, by or "payload.…"))
  elseif not fields.by and node[3] then
    self:error("interest", node[3], "this interest has no key", ('write %s:of(), or give it by = "payload.…"'):format(name))
  end
end

--- The nodes of a name, or of a list of names.
function Walk:names_in(node)
  local one = node and self.types:of(self.source, node)
  return one and one.kind == "table" and one.source == self.source and one.node or node and { node } or {}
end

--- user:in_segment("vip"); within a segment's `member` its `reads` must name it.
function Walk:check_in_segment(node)
  local one = node[3] and self.types:of(self.source, node[3])
  if one and one.kind == "class" and one.class.name == "kairos.Segment" then
    self:error("argument", node[3], "user:in_segment takes the segment's name, not the segment", 'write user:in_segment "its name"')
    return true
  end
  self:use_name("segment", node[3])
  local fn = self:running()
  if not one or not one.value or not fn or not fn.phases.member then return end
  for segment in pairs(fn.in_rules) do
    local reads = segment.fields.reads and self.types:of(self.source, segment.fields.reads)
    local named = not segment.unclear and (not reads or reads.value ~= one.value)
    if reads and reads.kind == "table" then
      for _, item in ipairs(reads.node) do named = named and not (item.tag == "String" and item[1] == one.value) end
    elseif reads and reads.kind ~= "string" then
      named = false
    end
    if named then
      self:error("segment", node[3], ("`member` asks for `%s`, and `reads` does not name it"):format(one.value),
        ('write reads = { "%s" } beside member'):format(one.value))
    end
  end
end

--- A name of a segment, experiment or interest that is declared elsewhere.
function Walk:use_name(kind, node)
  if node and node.tag == "Id" and not node.var and not self.types.names[node[1]] then
    node.told = true
    return self:error("unknown-name", node, ("there is nothing named `%s` here"):format(node[1]),
      ('write "%s": a %s is named in quotes'):format(node[1], kind))
  end
  local one = node and self.types:of(self.source, node)
  if one and one.kind == "string" and one.value then
    table.insert(self.facts.names_used, { kind = kind, name = one.value, node = node, source = self.source })
  end
end

--- Names that nothing declares, when all files have been read.
function Walk.names(facts, types)
  local known, unclear = {}, {}
  for _, rule in ipairs(types.rules) do
    known[rule.kind] = known[rule.kind] or {}
    if rule.name then known[rule.kind][rule.name] = true end
    unclear[rule.kind] = unclear[rule.kind] or rule.unclear or not rule.name
  end
  for _, use in ipairs(facts.names_used) do
    local list = known[use.kind] or {}
    if not list[use.name] and not unclear[use.kind] then
      local near = values.nearest(use.name, list)
      use.source:problem("error", "unknown-name", use.node, ("there is no %s `%s`"):format(use.kind, use.name),
        near and ('write "%s"'):format(near) or next(list) and values.choose(use.name, list)
        or ("declare it in a rule.lua: return kairos.%s { name = \"%s\", … }"):format(use.kind, use.name))
    end
  end
end

return Walk
