--- What is wrong with journeys: loops in which no time passes, waits that may last for ever, what came of a wait that nobody asked
-- about, shares that do not add up.

local nodes = require "review.nodes"

local options_of = nodes.options_of

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

--- A table with `on`, or a list of such: what ends a journey, what it is for, the goal of an experiment.
function Walk:use_on(node, how)
  local one = node and self.types:of(self.source, node)
  for _, item in ipairs(one and one.kind == "table" and one.source == self.source and one.node or {}) do
    if item.tag == "Table" then
      self:use_on(item, how)
    elseif item.tag == "Pair" and item[1][1] == "on" then
      self:use_types(item[2], how)
    end
  end
end

--- journey:split or user:variant as a statement: whoever gets which side, all are treated alike.
function Walk:check_choice(node)
  local base, name = self.types:of(self.source, node[1]), node[2][1]
  local class = base and base.kind == "class" and base.class.name
  if class == "kairos.Journey" and name == "split" then
    self:warn("unused", node, "nothing is done with what journey:split answers", "write local side = journey:split { … }")
  elseif class == "kairos.User" and name == "variant" then
    local answer = self.types:of(self.source, node)
    if answer and answer.choices and #answer.choices > 1 then
      self:warn("unused", node, "nothing is done with what user:variant answers, so all variants are alike",
        "write local variant = user:variant(…)")
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

return Walk
