--- Whether what is handed to the library is what it takes: fields, arguments, durations, and what to write instead.

local kinds = require "review.forms"
local native = require "kairos.native"

local values = {}

--- What to write for a type; the library's own errors show the same.
local examples = {
  ["kairos.Duration"] = '"10m"', ["kairos.Rate"] = '"5/1h"', ["kairos.Path"] = '"payload.sku"',
  ["kairos.EventType"] = '"order.completed"', ["kairos.Need"] = "kairos.needs { … }", ["kairos.Window"] = "kairos.window { … }",
  ["kairos.Throttle"] = "kairos.throttle { … }", ["kairos.Experiment"] = "kairos.experiment { … }",
  ["kairos.Name"] = '"high_interest"',
  ["kairos.Purpose"] = '"marketing"', ["kairos.Cap"] = '"3/7d"',
  ["kairos.Share"] = '"25%"', ["kairos.Moment"] = '"2026-11-27 09:00 Europe/Berlin"',
  ["kairos.Hours"] = '"mon-fri 09:00-18:00 Europe/Berlin"',
  ["kairos.Upcoming"] = '"next weekday 09:00"',
  ["kairos.DayTime"] = '"friday 17:00"', ["kairos.Template"] = '"hello"', ["kairos.Key"] = "event.payload.sku",
}

local described = {
  ["kairos.Duration"] = "a duration in quotes", ["kairos.Rate"] = "a rate in quotes", ["kairos.Path"] = "a path in quotes",
  ["kairos.Name"] = "a name in quotes", ["kairos.EventType"] = "an event type in quotes",
  ["kairos.Share"] = "a share of the users in quotes", ["kairos.Moment"] = "a day and time in quotes",
  ["kairos.Hours"] = "hours in quotes", ["kairos.DayTime"] = "a day and a time in quotes",
  ["kairos.Upcoming"] = "when, in words and in quotes",
  ["kairos.Experiment"] = "what kairos.experiment returned",
  ["kairos.Audience"] = "what an interest's :of(…) or kairos.segment.members answers", ["kairos.Need"] = "a look-up",
  ["kairos.Purpose"] = "a purpose in quotes", ["kairos.Cap"] = "a cap in quotes",
  ["kairos.Template"] = "the name of a template in quotes", ["kairos.Key"] = "text, a number, true or false",
}

--- The nearest of the names in `set` (a set, or a list), or nil.
function values.nearest(meant, set)
  local list = {}
  if set[1] ~= nil then
    list = set
  else
    for name in pairs(set) do list[#list + 1] = name end
    table.sort(list)
  end
  if #list == 0 then return nil end
  local found = native.nearest(meant, list)
  return found ~= "" and found or nil
end

--- "write x", or which there are.
function values.choose(meant, set)
  local near = values.nearest(meant, set)
  if near then return "write " .. near end
  local list = {}
  if set[1] ~= nil then
    for _, name in ipairs(set) do list[#list + 1] = name end
  else
    for name in pairs(set) do list[#list + 1] = name end
  end
  table.sort(list)
  if #list == 0 then return nil end
  if #list > 12 then
    for index = #list, 13, -1 do list[index] = nil end
    list[13] = "…"
  end
  return "there are: " .. table.concat(list, ", ")
end

local function article(kind)
  return kind == "given" and "a value of the event" or kind == "class" and "an object" or kind == "nil" and "nil"
    or kind == "string" and "text" or "a " .. kind
end

--- How a value is named in a problem.
local function describe(one, node)
  if node.tag == "String" then return '"' .. (#node[1] > 40 and node[1]:sub(1, 40) .. "…" or node[1]) .. '"' end
  if node.tag == "Number" then return tostring(node[1]) end
  if node.tag == "True" then return "true" end
  if node.tag == "False" then return "false" end
  return one.kind == "class" and "the " .. one.class.name:match("[^.]*$"):lower() or article(one.kind)
end

---@class review.Check
---@field types table  review.types
---@field source review.Source

--- Whether the type `one` of a value may be what annotation `wanted` asks for. Unknown may be anything.
local function fits(known, one, wanted)
  if not one or not wanted or wanted.kind == "any" or one.kind == "given" then return true end
  if one.kind == "nil" and wanted.kind ~= "union" then return wanted.optional or wanted.kind == "nil" end
  local kind = wanted.kind
  if kind == "union" then
    for _, each in ipairs(wanted.list) do
      if fits(known, one, each) then return true end
    end
    return one.kind == "nil" and wanted.optional or false
  elseif kind == "literal" then
    return one.kind == "string"
  elseif kind == "array" or kind == "table" then
    return one.kind == "table" or one.kind == "class" and (one.class.open or one.class.name ~= "kairos.Segment")
      or one.kind == "module"
  elseif kind == "class" then
    if known.aliases[wanted.name] then return fits(known, one, known.aliases[wanted.name]) end
    if one.kind == "class" then
      return one.class.name == wanted.name or one.class.name:find "Payload$" ~= nil and wanted.name:find "Spec$" == nil
    end
    local class = known.classes[wanted.name]
    if not class then return true end -- @generic
    return one.kind == "module" or one.kind == "table" and class and next(class.fields) ~= nil
  elseif kind == "string" then
    return one.kind == "string"
  end
  return one.kind == kind
end

--- A list of the texts that a union allows; nil if it allows others.
local function choices(wanted)
  if wanted.kind == "literal" then return { wanted.value } end
  if wanted.kind ~= "union" then return nil end
  local list = {}
  for _, each in ipairs(wanted.list) do
    if each.kind ~= "literal" then return nil end
    list[#list + 1] = each.value
  end
  return list
end

--- The same where something else than text may stand in its place.
local function words_of(known, wanted)
  if wanted.kind ~= "union" then return choices(wanted) end
  local list = {}
  for _, each in ipairs(wanted.list) do
    local alias = each.kind == "class" and known.aliases[each.name]
    each = alias and alias.kind == "function" and alias or each
    if each.kind == "literal" then
      list[#list + 1] = each.value
    elseif each.kind == "string" or each.kind == "class" or each.kind == "any" then
      return nil
    end
  end
  return list[1] and list
end

local example_of
function example_of(known, wanted, name, description)
  local text = wanted.kind == "string" or wanted.kind == "number" or wanted.kind == "class" and kinds[wanted.name]
  local quoted = text and description and description:match '"[^"]+"'
  if quoted then return quoted end
  if name == "on" or name == "of" or name == "cancel_on" then return '"order.completed"' end
  if name == "for_each" then return "function(event) return watchers:of(event.payload.sku) end" end
  local class = wanted.kind == "class" and known.classes[wanted.name]
  if class and not examples[wanted.name] and class.order[1] then
    local parts = {}
    for _, each in ipairs(class.order) do
      local field = class.fields[each]
      if not field.optional and field.type then
        parts[#parts + 1] = ("%s = %s"):format(each, example_of(known, field.type, each, field.description) or "…")
      end
    end
    return "{ " .. (parts[1] and table.concat(parts, ", ") or class.order[1] .. " = …") .. " }"
  end
  if wanted.kind == "class" then return examples[wanted.name] end
  if wanted.kind == "function" then
    local params = {}
    for index, param in ipairs(wanted.params) do params[index] = index <= 2 and param.name or nil end
    return "function(" .. table.concat(params, ", ") .. ") … end"
  end
  local list = choices(wanted)
  if list then return '"' .. list[1] .. '"' end
  if wanted.kind == "union" then return example_of(known, wanted.list[1]) end
  if wanted.kind == "number" then return "1" end
  if wanted.kind == "table" then return "{ … }" end
  if wanted.kind == "string" then return '"…"' end
end

local function wanted_text(known, wanted)
  if wanted.kind == "class" then
    if described[wanted.name] then return described[wanted.name] end
    local short = wanted.name:match "[^.]*$"
    if known.aliases[wanted.name] then return wanted_text(known, known.aliases[wanted.name]) end
    if short:find "Spec$" then return "a table in braces" end
    return "a " .. short:lower()
  end
  if wanted.kind == "function" then return "a function" end
  if wanted.kind == "array" then return "a list" end
  if wanted.kind == "string" then return "text" end
  local list = choices(wanted)
  if list then return list[2] and "one of " .. table.concat(list, ", ") or '"' .. list[1] .. '"' end
  if wanted.kind == "union" then
    local parts = {}
    for _, each in ipairs(wanted.list) do
      if each.kind ~= "nil" then parts[#parts + 1] = wanted_text(known, each) end
    end
    return table.concat(parts, " or ")
  end
  return "a " .. wanted.kind
end

--- A call stands where a function is wanted.
local function called_now(source, node, what, name, example)
  node[1].told = true
  return source:problem("error", "argument", node, ("%s is called here and now, not when an event comes"):format(what),
    "write " .. (name and name .. " = " or "") .. (example or "function() … end"))
end

local check_fields

--- The class whose fields a table that stands there is to have, of a type that may be a list of such as well; nil if there is none.
local function written_class(types, wanted, node)
  local list = wanted.kind == "union" and (not node or node[1] and node[1].tag == "Pair") and wanted.list or { wanted }
  for _, each in ipairs(list) do
    local class = each.kind == "class" and types.known.classes[each.name]
    if class and class.order[1] and not types:is_open(class) then return class end
  end
end

--- Check one value. `what` names it: "`over` of kairos.window"; `name` is the field's or parameter's.
local function check_value(self, wanted, node, what, name, description)
  local types, source = self.types, self.source
  local known = types.known
  if not wanted then return end
  local one = types:of(source, node)
  if not fits(known, one, wanted) then
    local instead = example_of(known, wanted, name, description)
    if wanted.kind == "function" and (node.tag == "Call" or node.tag == "Invoke") then
      return called_now(source, node, what, name, instead)
    end
    if one.kind == "class" and one.class.name == "kairos.Segment" then
      instead = name == "for_each" and 'kairos.segment.members "its name"' or 'kairos.segment.entered "its name"'
    elseif name == "for_each" and one.kind == "string" and one.value then
      instead = ('kairos.segment.members "%s"'):format(one.value)
    end
    if one.kind == "string" and wanted.kind == "class" and self.locals[one.value] then
      self.meant[one.value] = true
      instead = one.value .. ", without quotes"
    end
    local class = one.kind ~= "table" and written_class(types, wanted)
    if class then
      local first = class.order[1]
      return source:problem("error", "argument", node, ("%s takes a table in braces, not %s"):format(what, describe(one, node)),
        ("write { %s = … }"):format(first))
    end
    return source:problem("error", "argument", node,
      ("%s must be %s, not %s"):format(what, wanted_text(known, wanted), describe(one, node)),
      instead and (name and ("write %s = %s"):format(name, instead) or "write " .. instead))
  end
  if wanted.kind == "function" and not one and (node.tag == "Call" or node.tag == "Invoke") then
    return called_now(source, node, what, name, example_of(known, wanted, name))
  end
  if not one then return end
  local kind = wanted.kind == "class" and kinds[wanted.name]
  if wanted.kind == "union" and one.kind == "string" then
    for _, each in ipairs(wanted.list) do kind = kind or each.kind == "class" and kinds[each.name] end
  end
  if kind and one.kind == "string" and one.value then
    local why, meant = kind(one.value)
    if why then
      local instead = meant and ('"%s"'):format(meant) or example_of(known, wanted, name, description)
      -- What the host says of it quotes the text; here it stands marked in its line.
      why = why:gsub('^".-" ', "")
      if meant then why = why:gsub(": write .*$", "") end
      if why:find ": write " then instead = nil end
      return source:problem("error", "argument", node, ("%s %s"):format(what, why), instead and "write " .. instead)
    end
  end
  local purposes = wanted.name == "kairos.Purpose" and self.input.purposes
  if purposes and one.kind == "string" and one.value and not purposes[one.value] then
    local near = values.nearest(one.value, purposes)
    return source:problem("error", "purpose", node, ('the configuration has no purpose "%s"'):format(one.value),
      near and ('write "%s"'):format(near) or values.choose(one.value, purposes))
  end
  local list = words_of(known, wanted)
  if list and one.kind == "string" and one.value then
    for _, choice in ipairs(list) do
      if choice == one.value then return end
    end
    local near = values.nearest(one.value, list)
    return source:problem("error", "argument", node, ('%s cannot be "%s"'):format(what, one.value),
      near and ('write "%s"'):format(near) or "there are: " .. table.concat(list, ", "))
  end
  if (wanted.kind == "array" or wanted.kind == "union") and one.kind == "table" then
    local of = wanted.of
    for _, each in ipairs(wanted.list or {}) do of = of or each.of end
    if of then
      local seen = {}
      for _, item in ipairs(one.node) do
        if item.tag ~= "Pair" then check_value(self, of, item, what, nil) end
        if item.tag == "String" and seen[item[1]] then
          source:problem("warning", "twice", item, ('%s has "%s" twice'):format(what, item[1]), "delete one")
        end
        if item.tag == "String" then seen[item[1]] = true end
      end
    end
  elseif wanted.kind == "table" and wanted.values and one.kind == "table" and one.node and one.source == source then
    for _, item in ipairs(one.node) do
      if item.tag == "Pair" and item[1].tag == "String" then
        check_value(self, wanted.values, item[2], ("`%s` of %s"):format(item[1][1], what:gsub("`", "")), item[1][1])
      elseif item.tag ~= "Pair" and wanted.values.kind == "function" then
        source:problem("error", "argument", item, ("%s must name each function"):format(what), "write name = function(…) … end")
      end
    end
  end
  local class = one.kind == "table" and written_class(types, wanted, one.node)
  if class then check_fields(self, class, one.node, what, one.source == source and node == one.node) end
end

--- Fields that people look for in another place, by the class where they write them.
local elsewhere = {
  ["kairos.RuleSpec"] = {
    every = 'write on = an event type, and in act user:at(kairos.date.next("friday 17:00", user), { name = … })',
    schedule = 'write on = an event type, and in act user:at(kairos.date.next("friday 17:00", user), { name = … })',
    description = "write it as a comment at the top of the file: -- …",
    caps = 'write cap = "3/7d" in user:send { … }',
    quiet_hours = "quiet hours are the purpose's: purposes, in the configuration; hours in which the campaign runs are `hours`",
    run = "write act = function(event, user) … end, or kairos.journey { … } for what takes its time",
    start = "write on = an event type, or kairos.journey { … } for what takes its time",
    exit = 'write cancel_on in user:after, or kairos.journey { … } for what takes its time',
    again = "write once_per in user:send { … }, or kairos.journey { … } for what takes its time",
    member = "write kairos.segment { name = …, member = … }",
  },
  ["kairos.JourneySpec"] = {
    on = 'write it in start = { on = "cart.updated" }',
    when = "write it in start = { on = …, when = function(event, user) … end }",
    act = "write run = function(journey, user) … end",
    steps = "write run = function(journey, user) … end: what follows in it follows in time",
    timers = 'write journey:wait "1h" in run',
    wait = 'write journey:wait "1h" in run',
    delay = 'write journey:wait "1h" in run',
    cancel_on = "write exit = { on = … }",
    stop = "write exit = { on = … }",
    ["end"] = "write exit = { on = … }",
    trigger = 'write start = { on = "cart.updated" }',
    for_each = "write it in start = { on = …, for_each = function(event) return watchers:of(event.payload.sku) end }",
    pace = 'write it in start = { on = …, for_each = …, pace = "500/s" }',
    expires_in = "write it in start, if it is a fan-out's; or in journey:send",
    needs = "needs are a rule's: a rule asks, and hands what came to the journey by user:emit",
    description = "write it as a comment at the top of the file: -- …",
  },
  ["kairos.SegmentSpec"] = {
    on = "a segment follows what is known of the user: write a window with of = …, and ask it in member",
    when = "write member = function(user) return … end",
    where = "write member = function(user) return … end",
    act = 'write a rule with on = kairos.segment.entered "NAME"',
    over = "write it in a window: kairos.window { of = …, over = … }, and ask that in member",
    description = "write it as a comment at the top of the file: -- …",
  },
  ["kairos.SendSpec"] = {
    quiet_hours = "quiet hours are the purpose's: purposes, in the configuration",
    subject = "write it at the top of the template, between two lines ---",
    from = "write it at the top of the template, between two lines ---",
    body = "write it into the template, a file beside the rule",
    text = "write it into the template, a file beside the rule",
    delay = 'write user:after("1h", { name = … }), and user:send in timers',
    after = 'write user:after("1h", { name = … }), and user:send in timers',
    at = "write user:at(moment, { name = … }), and user:send in timers",
  },
}

--- What to write for a field that the class has not.
local function choose_field(types, class, name)
  local instead = elsewhere[class.name] and elsewhere[class.name][name]
  if instead then return instead end
  local rule, send = types.known.classes["kairos.RuleSpec"], types.known.classes["kairos.SendSpec"]
  if class == rule and send and send.fields[name] then return ("write it in user:send { %s = … }"):format(name) end
  if class == send and rule and rule.fields[name] then return ("write it in kairos.rule { %s = … }"):format(name) end
  return values.choose(name, class.order)
end

--- Check a table against the fields of a class. @param whole  nothing can be added to it later
function check_fields(self, class, node, what, whole)
  local source, types = self.source, self.types
  if not whole then return end
  local seen, positional = {}, false
  for _, item in ipairs(node) do
    if item.tag == "Pair" and item[1].tag == "String" then
      local name = item[1][1]
      local field = types:member(class, name)
      if seen[name] then
        source:problem("warning", "twice", item[1], ("`%s` stands twice in %s; the last one counts"):format(name, what),
          "delete one")
      end
      seen[name] = true
      if not field and not types:is_open(class) then
        source:problem("error", "unknown-field", item[1], ("%s has no field `%s`"):format(what, name),
          choose_field(types, class, name))
        local near = values.nearest(name, class.order)
        if near then seen[near] = true end
      elseif field then
        check_value(self, field.type, item[2], ("`%s` of %s"):format(name, what), name, field.description)
      end
    elseif item.tag == "Pair" then
      positional = true
    elseif not types:is_open(class) then
      positional = true
      if item.tag == "Op" and item[1] == "eq" and item[2].tag == "Id" then
        source:problem("error", "argument", item, "`==` compares, it does not give a value",
          ("write %s = …"):format(item[2][1]))
        item[2].told = true
        seen[item[2][1]] = true
      else
        local first = class.order[1]
        source:problem("error", "argument", item, ("%s takes named fields"):format(what), ("write %s = …"):format(first))
      end
    end
  end
  if positional then return end
  for _, name in ipairs(class.order) do
    local field = class.fields[name]
    if not field.optional and field.type and not seen[name] then
      source:problem("error", "missing-field", { line = node.line, offset = node.offset, end_offset = node.offset },
        ("%s needs `%s`"):format(what, name),
        ("write %s = %s"):format(name, example_of(types.known, field.type, name, field.description) or "…"))
    end
  end
end

values.check_value = check_value

--- How a parameter's argument is written.
local function shown_param(known, param)
  if param.type and param.type.kind == "class" then
    local class = known.classes[param.type.name]
    if param.name == "spec" and class and class.order[1] then return ("{ %s = … }"):format(class.order[1]) end
    if examples[param.type.name] and param.name ~= "name" then return examples[param.type.name] end
  end
  return param.name
end

--- The call as it is written, with the arguments that are there.
local function shown_call(self, node, first, annotated, name)
  local parts = {}
  for index, param in ipairs(annotated.params) do
    local given = node[first + index - 1]
    local fitting = given and fits(self.types.known, self.types:of(self.source, given), param.type)
    local ok, text = pcall(function()
      return self.source.state.source:get_substring(given.offset, given.end_offset)
    end)
    if not given and param.optional then break end
    parts[index] = fitting and ok and #text <= 40 and not text:find "\n" and text or shown_param(self.types.known, param)
  end
  if #parts == 1 and parts[1]:find "^{" then return name .. " " .. parts[1] end
  return ("%s(%s)"):format(name, table.concat(parts, ", "))
end

--- Check the arguments of a call. @param first  index of the first argument's node
function values.check_call(self, node, first, annotated, name)
  local source = self.source
  local given = #node - first + 1
  local last = node[#node]
  local open = given > 0 and (last.tag == "Call" or last.tag == "Invoke" or last.tag == "Dots")
  for index, param in ipairs(annotated.params) do
    if param.name == "..." then break end
    if not node[first + index - 1] and not param.optional and param.type and not open then
      source:problem("error", "argument", node, param.name == "spec" and ("%s takes a table in braces"):format(name)
        or ("%s needs `%s`"):format(name, param.name), "write " .. shown_call(self, node, first, annotated, name))
      return
    end
  end
  local before = #source.problems
  for index, param in ipairs(annotated.params) do
    local argument = node[first + index - 1]
    if param.name == "..." then return end
    local what = param.name == "spec" and name or ("`%s` of %s"):format(param.name, name)
    if argument then check_value(self, param.type, argument, what, nil) end
  end
  if given > #annotated.params and #source.problems == before then
    source:problem("warning", "argument", node[first + #annotated.params],
      ("%s takes %s"):format(name, #annotated.params == 0 and "nothing" or #annotated.params == 1 and "one value"
        or #annotated.params .. " values"), "write " .. shown_call(self, node, first, annotated, name))
  end
end

return values
