--- What is wrong with who is meant: segments that ask the clock or do something, interests without their key, experiments, events
-- that rules emit, names that nothing declares.

local nodes = require "review.nodes"
local values = require "review.values"

local options_of = nodes.options_of

---@class review.Walk
local Walk = {}

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

--- What a `for_each` answers with: an audience, or nothing.
function Walk:check_audience(node)
  local one = self.types:of(self.source, node)
  local class = one and one.kind == "class" and one.class.name
  if not one or class == "kairos.Audience" then return end
  local wrong = { table = "a table", string = "text", number = "a number", ["function"] = "a function" }
  local instead = 'write return watchers:of(event.payload.sku), or kairos.segment.members "NAME"'
  if class == "kairos.Interest" then
    local fields = one.interest and options_of({ types = self.types, source = one.interest.source }, one.interest.node)
    local by = fields and fields.by and fields.by.tag == "String" and fields.by[1]
    instead = ("write %s:of(%s)"):format(node.tag == "Id" and node[1] or "interest", fields and not fields.by and ""
      or "event." .. (by or "payload.…"))
  elseif class == "kairos.Segment" then
    instead = 'write kairos.segment.members "its name"'
  elseif class or not wrong[one.kind] then
    return
  elseif one.kind == "string" and one.value then
    instead = ('write kairos.segment.members "%s"'):format(one.value)
  end
  self:error("audience", node, ("`for_each` answers whom it reaches, not %s"):format(class and (class == "kairos.Interest"
    and "the interest" or "the segment") or wrong[one.kind]), instead)
end

--- kairos.interest { of, … }: its event types.
function Walk:check_interest(node)
  local fields = options_of(self, node[2])
  if fields then self:use_types(fields.of, "of") end
end

--- kairos.experiment { variants = { a = 50, b = 50 }, goal = { on = … }, … }
function Walk:check_experiment(node)
  local fields = options_of(self, node[2])
  if fields then self:use_on(fields.goal, "goal") end
  local one = fields and fields.variants and self.types:of(self.source, fields.variants)
  for _, item in ipairs(one and one.kind == "table" and one.source == self.source and one.node or {}) do
    if item.tag == "Pair" and item[1].tag == "String" and item[2].tag == "String" then
      self:error("argument", item[2], ("the weight of `%s` must be a number, not \"%s\""):format(item[1][1], item[2][1]),
        ("write %s = %s"):format(item[1][1], item[2][1]:match "^%s*(%d+%.?%d*)" or "50"))
    elseif item.tag == "Pair" and item[1].tag == "String" and item[2].tag == "Number" and tonumber(item[2][1]) == 0 then
      self:error("argument", item[2], ("`%s` has no weight, so nobody would get it"):format(item[1][1]),
        ("take it out, or write %s = 1"):format(item[1][1]))
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

--- A type that begins with segment. where it is written out: "segment.entered:vip" names a segment, as kairos.segment.entered
--- does, and of others than the host's own no event ever comes.
local function written_type(facts, use)
  if use.how == "emit" or use.node[1] ~= use.name or not use.name:find "^segment%." then return end
  local what, name = use.name:match "^segment%.(%a+):(.+)$"
  if what == "entered" or what == "left" then
    table.insert(facts.names_used, { kind = "segment", name = name, node = use.node, source = use.source })
  elseif use.name ~= "segment.entered" and use.name ~= "segment.left" then
    name = name or use.name:match "^segment%.%a+%.(.+)$"
    use.source:problem("error", "event-type", use.node, ("there are no events `%s`: the host tells who entered a segment and "
      .. "who left it"):format(use.name), ('write kairos.segment.%s%s'):format(use.name:find "^segment%.[lg]" and "left"
      or "entered", (' "%s"'):format(name or "its name")))
  end
end

--- Names that nothing declares, when all files have been read. @param before  campaigns that are not among them (reviewed.lua)
function Walk.names(facts, types, before)
  local known, unclear = {}, {}
  for _, one in ipairs(before) do
    for _, declared in ipairs(one.declares) do
      known[declared.kind] = known[declared.kind] or {}
      known[declared.kind][declared.name] = true
    end
  end
  for _, use in ipairs(facts.uses) do written_type(facts, use) end
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
