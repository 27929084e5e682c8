--- The review behind `kairos check`: reads all campaigns as somebody would who knows the library and means well.
--
-- Each file is parsed by luacheck; what its expressions are is worked out from the library's annotations (annotations.lua,
-- types.lua); then rules.lua and values.lua look at each file, and this module at all of them together: types of events, names
-- of rules, templates and their variables. Nothing of the campaigns is run. What cannot be known is not reported.

local names_of = require "review.names"
local native = require "kairos.native"
local reviewed = require "review.reviewed"

local found_luacheck = pcall(require, "luacheck.check_state")

local review = {}

--- At most so many problems of one file: what has more is not the file that was meant.
local PROBLEMS_MAX = 100

--- Types that mean something to the host itself.
local OWN_TYPES = { identify = true, ["message.bounced"] = true, ["message.complained"] = true, ["message.unsubscribed"] = true,
  ["consent.granted"] = true, ["consent.withdrawn"] = true,
  ["message.clicked"] = true, ["message.opened"] = true, ["message.delivered"] = true }

local function read_file(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

--- The text of the library's files by module name.
local function library_files(library, directory)
  local files = {}
  for _, file in ipairs(library) do
    local name = file.path:gsub("%.lua$", ""):gsub("/", "."):gsub("%.init$", "")
    files[name] = file.text
  end
  for _, name in ipairs { "host", "journey" } do
    files["meta." .. name] = read_file(("%s/meta/%s.lua"):format(directory, name)) or ""
  end
  return files
end

local Facts = {}
Facts.__index = Facts

--- An event type is named at a node.
function Facts:use_type(source, node, how, name)
  name = name or node[1]
  if name == "" then return end
  self.uses[#self.uses + 1] = { name = name, source = source, node = node, how = how }
  self.types[name] = (self.types[name] or 0) + 1
end

--- Event types that nobody declares, or that are nearly another.
local function review_types(facts, schemas)
  local values = require "review.values"
  local names = {}
  for name in pairs(facts.types) do names[#names + 1] = name end
  table.sort(names)
  local known = next(schemas) ~= nil
  local rank = { emit = 4, on = 3, of = 2, exit = 1, goal = 1, worth = 1, wait_for = 1, cancel_on = 1 }
  local first = {}
  for _, use in ipairs(facts.uses) do first[use.name] = first[use.name] or use end
  for _, use in ipairs(facts.uses) do
    local name = use.name
    if OWN_TYPES[name] or schemas[name] or name:find "^segment%." then
      goto continue
    end
    if known and facts.emitted[name] then goto continue end -- a rule says what is in it
    if known then
      local list = {}
      for schema in pairs(schemas) do list[schema] = true end
      for own in pairs(OWN_TYPES) do list[own] = true end
      local near = values.nearest(name, list)
      use.source:problem("warning", "event-type", use.node, ('no schema describes events of type "%s"'):format(name),
        near and ('write "%s"'):format(near) or ("write rules/schemas/%s.json"):format(name))
      goto continue
    end
    for _, other in ipairs(names) do
      local here, there = facts.types[name], facts.types[other]
      if names_of.close(name, other) and (here < there or here == there and (rank[use.how] < rank[first[other].how]
        or rank[use.how] == rank[first[other].how] and first[name].order > first[other].order)) then
        use.source:problem("warning", "event-type", use.node, ('"%s" is nearly the "%s" of %s:%d'):format(name, other,
          first[other].source.shown, first[other].node.line), ('write "%s" if it is the same'):format(other))
        break
      end
    end
    ::continue::
  end
end

local function review_rules(types)
  local seen = { campaign = {}, segment = {} }
  for _, rule in ipairs(types.rules) do
    if rule.name then
      local names = seen[rule.kind == "segment" and "segment" or "campaign"]
      local before = names[rule.name]
      if before then
        local name = rule.fields.name or rule.node[1]
        rule.source:problem("error", "duplicate", name, ("a %s named `%s` is in %s:%d already"):format(before.kind, rule.name,
          before.source.shown, before.node.line), "give this one another name")
      else
        names[rule.name] = rule
      end
    end
    if rule.kind == "rule" and not rule.unclear and not rule.timers_unclear and not rule.timers_set_unclear then
      local names = {}
      for name in pairs(rule.timers) do names[#names + 1] = name end
      table.sort(names)
      for _, name in ipairs(names) do
        if not rule.timers_set[name] then
          rule.source:problem("warning", "timer", rule.timers[name], ("nothing sets the timer `%s`"):format(name),
            ('write user:after("1h", { name = "%s" }) in act'):format(name))
        end
      end
    end
  end
end

local function review_attributes(facts)
  for _, read in ipairs(facts.attribute_reads) do
    if not facts.attributes[read.name] and facts.attribute_counts[read.name] == 1 then
      for _, name in ipairs(facts.attribute_names) do
        if names_of.close(read.name, name) then
          read.source:problem("warning", "attribute", read.node, ("nothing sets the attribute `%s`"):format(read.name),
            ("write %s"):format(name))
          break
        end
      end
    end
  end
end

local function statement_range(source, line)
  for _, statement in ipairs(source and source.ast or {}) do
    local last = statement.line
    for number = statement.line, #source.state.line_offsets do
      if source.state.line_offsets[number] > (statement.end_offset or 0) then break end
      last = number
    end
    if line >= statement.line and line <= last then return statement.line, last end
  end
  return line, line
end

local function words_in_quotes(text)
  local words = {}
  for word in (text or ""):gmatch "`([^`]+)`" do words[word] = true end
  return words
end

--- What the host said while it loaded the rules, but for what the review says better.
local function merge(input, types, problems)
  local shown = {}
  for _, source in ipairs(types.list) do shown[source.shown] = source end
  local by_file = {}
  for _, problem in ipairs(problems) do
    by_file[problem.file] = by_file[problem.file] or {}
    table.insert(by_file[problem.file], problem)
  end
  for _, found in ipairs(input.found) do
    local source = shown[found.file]
    local same = source and source.fault and not source.fault.deep and found.severity == "error"
    if source and source.fault and source.fault.deep then -- the host's word is the better one
      for index, problem in ipairs(problems) do
        if problem.file == found.file and problem.code == "syntax" then
          table.remove(problems, index)
          break
        end
      end
    end
    local template = found.message:match "^there is no template `([^`]+)`"
    if template and source then -- it is there, but does not load, which has been said
      for path in pairs(input.templates) do
        same = same or path:match "^([^/]+)/" == source.campaign and path:match "([^/]+)%.%w+$" == template
      end
    end
    local words = words_in_quotes(found.message)
    local from, to = statement_range(source, found.line)
    for _, problem in ipairs(by_file[found.file] or {}) do
      if problem.severity == "error" then
        local alike = false
        for word in pairs(words_in_quotes(problem.message)) do
          alike = alike or words[word] or found.line == 0 and word:find "^[%w_.:-]+$"
            and found.message:find("%f[%w_]" .. word:gsub("%p", "%%%0") .. "%f[^%w_]") ~= nil
        end
        same = same or problem.line == found.line or found.line > 0 and problem.line >= from and problem.line <= to and alike
          or found.line == 0 and (alike or problem.code == "no-rule" or problem.code == "duplicate" or problem.code == "syntax")
      end
    end
    if not same then problems[#problems + 1] = found end
  end
end

local severities = { error = 1, warning = 2, note = 3 }

local function sort(problems)
  for index, problem in ipairs(problems) do problem.order = index end
  table.sort(problems, function(a, b)
    if a.file ~= b.file then return a.file < b.file end
    if a.line ~= b.line then return a.line < b.line end
    if a.column ~= b.column then return a.column < b.column end
    if a.severity ~= b.severity then return severities[a.severity] < severities[b.severity] end
    return a.order < b.order
  end)
  local kept, counts, said = {}, {}, {}
  for _, problem in ipairs(problems) do
    problem.order = nil
    local key = ("%s:%d:%d:%s"):format(problem.file, problem.line, problem.column, problem.message)
    local count = (counts[problem.file] or 0) + 1
    if not said[key] then
      said[key] = true
      counts[problem.file] = count
      if count <= PROBLEMS_MAX then
        kept[#kept + 1] = problem
      elseif count == PROBLEMS_MAX + 1 then
        kept[#kept + 1] = { file = problem.file, line = problem.line, column = problem.column, end_column = problem.end_column,
          severity = problem.severity, code = "more", message = "there are more problems in this file; these come first" }
      end
    end
  end
  return kept
end

--- How deep nodes lie in one another; what is deeper than the review can follow is left to the host.
local DEPTH_MAX = 180
local function depth_of(node, depth)
  if depth > DEPTH_MAX then return depth end
  local deepest = depth
  for index = 1, #node do
    if type(node[index]) == "table" then
      deepest = math.max(deepest, depth_of(node[index], depth + 1))
      if deepest > DEPTH_MAX then return deepest end
    end
  end
  return deepest
end

---@class review.Input
---@field files { path: string, text: string }[]  of the rules folder
---@field library { path: string, text: string }[]
---@field library_dir string
---@field rules_dir string  in front of the files' paths where they are shown
---@field specs_dir? string
---@field found table[]  problems that the host told while it loaded them
---@field names table  what a rule file sees
---@field missing table<string, string>  what people look for, and what to write instead
---@field providers string[]
---@field purposes? table<string, table>
---@field schemas? table<string, table>  JSON Schema of an event type's payload
---@field reviewed? review.Reviewed[]  campaigns that an earlier review found no error in, and that have not changed since

--- Review these files. @param before  campaigns that are not among them
local function run(input, before)
  local annotations, Source, types_of = require "review.annotations", require "review.source", require "review.types"
  local rules, syntax, templates = require "review.rules", require "review.syntax", require "review.templates"
  local messages = require "review.messages"
  input.schemas = input.schemas or {}
  local known = annotations.read(library_files(input.library, input.library_dir))
  local types = types_of.new(known, input.names)
  local facts = setmetatable({ sends = {}, windows = {}, uses = {}, types = {}, attributes = {}, attribute_reads = {},
    attribute_counts = {}, named_templates = {}, emitted = {}, names_used = {} }, Facts)
  facts.schemas = input.schemas

  local sources, all_templates, problems, campaigns = {}, {}, {}, 0
  input.templates = {}
  for _, file in ipairs(input.files) do
    local path = file.path
    if path:find "%.lua$" then
      local source = Source.new(path, file.text, input.rules_dir .. "/" .. path)
      sources[#sources + 1] = source
      if path:find "^[^/]+/rule%.lua$" then campaigns = campaigns + 1 end
      if source.fault then
        syntax.explain(source)
      elseif depth_of(source.ast, 0) > DEPTH_MAX then
        source.ast = nil
        source:problem("warning", "too-deep", { line = 1, column = 1, end_column = 2 }, "nested too deeply to be reviewed",
          "split it into functions")
      end
    elseif path:find "%.%w+$" then
      input.templates[path] = true
      all_templates[#all_templates + 1] = templates.read(path, file.text)
    end
  end
  types:add(sources)
  --- A mistake of the review's own costs what it would have said, and no more: whether rules may serve is not its to stop by that.
  local function guard(place, work, ...)
    local ok, why = pcall(work, ...)
    if ok then return end
    problems[#problems + 1] = { file = place, line = 0, column = 0, severity = "warning", code = "review",
      message = "the review itself failed here: " .. tostring(why) }
  end
  guard(input.rules_dir, types.follow, types)
  for _, source in ipairs(sources) do
    if source.ast then guard(source.shown, rules.review, types, source, facts, input) end
  end
  for index, use in ipairs(facts.uses) do use.order = index end
  facts.attribute_names = {}
  for name in pairs(facts.attributes) do facts.attribute_names[#facts.attribute_names + 1] = name end
  for name in pairs(names_of.properties_of(input.schemas.identify) or {}) do
    facts.attribute_names[#facts.attribute_names + 1] = name
    facts.attributes[name] = true
  end
  table.sort(facts.attribute_names)
  guard(input.rules_dir, review_types, facts, input.schemas)
  guard(input.rules_dir, review_rules, types)
  guard(input.rules_dir, rules.names, facts, types, before)
  guard(input.rules_dir, messages.templates, types, facts, input, all_templates, problems)
  guard(input.rules_dir, messages.json, input, all_templates, problems)
  guard(input.rules_dir, messages.sends, types, facts, input)
  guard(input.rules_dir, review_attributes, facts)
  for _, source in ipairs(sources) do
    for _, problem in ipairs(source.problems) do problems[#problems + 1] = problem end
  end
  merge(input, types, problems)
  problems = sort(problems)
  if input.specs_dir then
    for _, source in ipairs(sources) do
      local name = source.path:match "^([^/]+)/rule%.lua$"
      local spec = name and ("%s/%s_spec.lua"):format(input.specs_dir, name)
      if spec and not native.exists(spec) then
        problems[#problems + 1] = { file = source.shown, line = 0, column = 0, severity = "note", code = "no-spec",
          message = "this campaign has no spec", instead = "write " .. spec }
      end
    end
  end
  local left = reviewed.collect(types, facts)
  for _, one in ipairs(before) do left[#left + 1] = one end
  return { problems = problems, campaigns = campaigns + #before, reviewed = left, fits = reviewed.fits(before, types) }
end

local function has_error(problems)
  for _, problem in ipairs(problems) do
    if problem.severity == "error" then return true end
  end
  return false
end

--- Review all campaigns, or those that may have an error. Says so by an error if luacheck is not installed.
---@param input review.Input
---@return { problems: table[], campaigns: number, reviewed: review.Reviewed[] }
function review.run(input)
  if not found_luacheck then
    error("kairos check needs luacheck to read Lua: install Debian's package lua-check (tools/setup does)", 0)
  end
  local before, left_out = input.reviewed or {}, {}
  for _, one in ipairs(before) do left_out[one.folder] = true end
  if #before > 0 and not has_error(input.found) then
    local rest = {}
    for _, file in ipairs(input.files) do
      if not left_out[file.path:match "^[^/]+"] then rest[#rest + 1] = file end
    end
    local result = run(setmetatable({ files = rest }, { __index = input }), before)
    if result.fits and not has_error(result.problems) then return result end
  end
  return run(input, {})
end

return review
