--- Assertions about a virtual host: assert.sent, assert.not_sent, assert.held_back, assert.why, assert.failed.

local luassert = require "luassert"
local native = require "kairos.native"
local tell = require "kairos.spec.tell"
local words = require "kairos.spec.words"

local assertions = {}

--- How a failure ends: at most so many lines and stories.
local SHOWN, STORIES = 10, 3

-- What holds a message back beside the gate's checks: its campaign is a shadow, or another went first; its delivery ended so.
local endings = { "shadow", "priority", "expired", "cancelled", "rejected", "exhausted", "held" }

---@param text any
---@param part any
local function has(text, part)
  return type(text) == "string" and text:find(tostring(part), 1, true) ~= nil
end

--- Whether all that `part` has is in `whole`, with equal values.
local function within(part, whole)
  if type(part) ~= "table" or type(whole) ~= "table" then
    return part == whole
  end
  for name, value in pairs(part) do
    if not within(value, whole[name]) then
      return false
    end
  end
  return true
end

--- Values shown in a failure, and how to compare them: each says whether a row has what is wanted.
local compare = {
  to = function(row, value) return (row.user or row.subject) == value or (row.to ~= "" and row.to == value) end,
  template = function(row, value) return row.template == value end,
  campaign = function(row, value) return row.campaign == value end,
  segment = function(row, value) return row.segment == value end,
  channel = function(row, value) return row.channel == value end,
  provider = function(row, value) return row.provider == value end,
  purpose = function(row, value) return row.purpose == value end,
  subject = function(row, value) return row.subject == value end,
  subject_has = function(row, value) return has(row.subject, value) end,
  text_has = function(row, value) return has(row.text, value) end,
  html_has = function(row, value) return has(row.html, value) end,
  data = function(row, value) return within(value, row.data) end,
  at = function(row, value) return row.at == value end,
  waits_until = function(row, value) return row.not_before == value end,
  by = function(row, value) return row.by == value end,
  because = function(row, value) return has(row.because, value) end,
  decision = function(row, value) return row.decision == value end,
  facts = function(row, value) return within(value, row.facts) end,
  error_has = function(row, value) return has(row.error, value) end,
  experiment = function(row, value) return row.experiment == value end,
  variant = function(row, value) return row.variant == value end,
  goal = function(row, value) return (row.goal_at ~= nil) == value end,
  value = function(row, value) return row.value == value end,
  checks = function(row, value)
    for name, part in pairs(value) do
      if not has((row.checks or {})[name], part) then
        return false
      end
    end
    return true
  end,
}

--- What is shown of a row that has not what is wanted.
local shown = {
  to = function(row) return row.user or row.subject end,
  subject_has = function(row) return row.subject end,
  text_has = function(row) return row.text end,
  html_has = function(row) return row.html end,
  error_has = function(row) return row.error end,
  goal = function(row) return row.goal_at ~= nil end,
  at = function(row, host) return tell.time(host, row.at) end,
  waits_until = function(row, host) return row.not_before and tell.time(host, row.not_before) end,
}

local names_checked = { template = "templates", campaign = "campaigns", channel = "channels", provider = "providers",
  purpose = "purposes", experiment = "experiments" }
local texts = { "to", "template", "campaign", "segment", "channel", "provider", "purpose", "subject", "subject_has", "text_has",
  "html_has", "by", "because", "decision", "error_has", "experiment", "variant" }
local tables = { "data", "facts", "checks" }

--- Raise for a filter that cannot be meant.
---@param what string
---@param like table
---@param fields string[]
---@param example string
local function check(host, what, like, fields, example)
  words.check_fields(what, like, fields, example)
  local names = native.sim_names(host.id)
  for _, field in ipairs(texts) do
    if like[field] ~= nil and type(like[field]) ~= "string" then
      words.fail(what .. ": `" .. field .. "` must be text, not " .. tell.value(like[field]))
    end
  end
  for _, field in ipairs(tables) do
    if like[field] ~= nil and type(like[field]) ~= "table" then
      words.fail(what .. ": `" .. field .. "` must be a table, not " .. tell.value(like[field]))
    end
  end
  if like.times ~= nil and (type(like.times) ~= "number" or like.times < 0 or like.times ~= math.floor(like.times)) then
    words.fail(what .. ": `times` must be a whole number")
  end
  local goal = type(like.campaign) == "string" and like.campaign:match "^experiment:(.*)$" -- whose `where` failed
  if goal then
    words.check_name(what .. ": there is no experiment", goal, names.experiments)
  end
  for field, list in pairs(names_checked) do
    if like[field] ~= nil and not (goal and field == "campaign") then
      words.check_name(what .. ": there is no " .. field, like[field], names[list])
    end
  end
  if like.by ~= nil then
    local known = {}
    for _, list in ipairs { names.checks, endings } do
      for _, name in ipairs(list) do
        known[#known + 1] = name
      end
    end
    words.check_name(what .. ": nothing holds a message back by the name", like.by, known)
  end
  if like.decision ~= nil then
    words.check_name(what .. ": there is no decision", like.decision, { "send", "skip", "none", "failed", "entered", "left", "in",
      "out" })
  end
  for name in pairs(like.checks or {}) do
    words.check_name(what .. ": the gate has no check", name, names.checks)
  end
end

--- The same with its moments in milliseconds.
local function resolve(host, what, like)
  local resolved = {}
  for field, value in pairs(like) do
    resolved[field] = value
  end
  for _, field in ipairs { "at", "waits_until" } do
    if like[field] ~= nil then
      local ok, ms = pcall(native.moment, host.id, like[field])
      if not ok then
        words.fail(what .. ": `" .. field .. "`: " .. tostring(ms))
      end
      resolved[field] = ms
    end
  end
  return resolved
end

--- Split rows into those that have all that is wanted and the others; of the others, the fields that differ.
local function sort(rows, like)
  local found, others = {}, {}
  for _, row in ipairs(rows) do
    local differs = {}
    for field, value in pairs(like) do
      if field ~= "times" and not compare[field](row, value) then
        differs[#differs + 1] = field
      end
    end
    table.sort(differs)
    if #differs == 0 then
      found[#found + 1] = row
    else
      others[#others + 1] = { row = row, differs = differs }
    end
  end
  return found, others
end

--- " with to = "ada", template = "reminder""
local function describe(kind, like)
  local parts = {}
  for _, field in ipairs(kind.fields) do
    if field ~= "times" and like[field] ~= nil then
      parts[#parts + 1] = field .. " = " .. tell.value(like[field])
    end
  end
  return #parts > 0 and " with " .. table.concat(parts, ", ") or ""
end

local function plural(count, one, many)
  return count .. " " .. (count == 1 and one or many)
end

--- Lines about rows that were there, and why they do not do.
local function list(host, heading, rows, line)
  if #rows == 0 then
    return ""
  end
  local out = { "\n" .. heading }
  for i = 1, math.min(#rows, SHOWN) do
    local row, differs = rows[i].row or rows[i], rows[i].differs
    local why = {}
    for _, field in ipairs(differs or {}) do
      local value = shown[field] and shown[field](row, host) or row[field]
      why[#why + 1] = field .. " is " .. (value == nil and "not there" or tell.value(value))
    end
    out[#out + 1] = "  " .. line(host, row) .. (#why > 0 and "\n    " .. table.concat(why, "\n    ") or "")
  end
  if #rows > SHOWN then
    out[#out + 1] = "  … and " .. (#rows - SHOWN) .. " more"
  end
  return table.concat(out, "\n")
end

--- The stories of those it is about.
local function stories(host, like)
  local out = {}
  local entities = native.sim_entities(host.id)
  for _, entity in ipairs(entities) do
    local id = entity.user or entity.subject
    if not like.to or id == like.to then
      out[#out + 1] = { id, entity.subject ~= nil }
    end
  end
  if #out == 0 then -- an address, or somebody unknown
    for _, entity in ipairs(entities) do
      out[#out + 1] = { entity.user or entity.subject, entity.subject ~= nil }
    end
  end
  local text = ""
  for i = 1, math.min(#out, STORIES) do
    text = text .. "\n\n" .. tell.story(host, out[i][1], out[i][2])
  end
  if #out == 0 then
    text = "\n\nnothing has happened yet: give it an event with host:event { … }"
  elseif #out > STORIES then
    text = text .. "\n\n(and " .. plural(#out - STORIES, "other", "others") .. ")"
  end
  return text
end

--- The first rule that failed, unless the spec has said that it knows.
local function unexpected_failure(host)
  for _, letter in ipairs(native.sim_dead(host.id)) do
    if letter.kind == "rule" and not host.failures_known[letter.id] then
      return letter
    end
  end
end

--- Fail if a rule failed that the spec does not know of: its messages and timers are missing, and "not sent" says nothing.
local function check_failures(host)
  local letter = unexpected_failure(host)
  if letter then
    words.fail_test("a rule failed (if that is meant, say so first: assert.failed(host, { campaign = \"" .. letter.campaign
      .. "\" })):\n" .. letter.error .. stories(host, { to = letter.user or letter.subject }))
  end
end

---@return kairos.SpecHost
local function host_of(what, arguments)
  local host = arguments[1]
  if type(host) ~= "table" or rawget(host, "id") == nil then
    words.fail(what .. " takes the host first: " .. what .. "(host, …)")
  end
  return host
end

--- What kinds of assertions there are: rows of the host, fields one may ask for, and words.
local function judge(kind, state, arguments)
  local what = "assert." .. (state.mod and "" or "not_") .. kind.name
  local host = host_of(what, arguments)
  local like = arguments[2]
  if arguments.n > 2 then
    words.fail(what .. " takes the host and one more: " .. what .. "(host, " .. kind.example .. ")")
  end
  if type(like) == "number" and kind.counts then
    like = { times = like }
  elseif like == nil and (kind.counts or kind.known or not state.mod) then
    like = {}
  end
  check(host, what, like, kind.fields, what .. "(host, " .. kind.example .. ")")
  if kind.name ~= "failed" then
    check_failures(host)
  end
  local found, others = sort(kind.rows(host), resolve(host, what, like))
  if kind.known then
    kind.known(host, found)
  end
  local wanted = like.times
  if wanted == nil and state.mod and next(like) == nil and kind.counts then
    words.fail(what .. " needs a number or what to look for: " .. what .. "(host, 1)")
  end
  local fits = wanted and #found == wanted or not wanted and #found > 0
  if fits == state.mod then
    return state.mod
  end
  local expected = not state.mod and "no " .. kind.one or not wanted and "a " .. kind.one or plural(wanted, kind.one, kind.many)
  local text = "expected " .. expected .. describe(kind, like) .. "; there " .. (#found == 0 and "was none"
    or (#found == 1 and "was " or "were ") .. #found)
  text = text .. list(host, "found:", found, kind.line) .. list(host, kind.others, #found == 0 and others or {}, kind.line)
  words.fail_test(text .. stories(host, like))
end

--- Decisions that did not lead to a message, or not yet, with `by` and `because`.
local function held_back(host)
  local rows = {}
  for _, decision in ipairs(native.sim_decisions(host.id)) do
    local last = decision.outcomes and decision.outcomes[#decision.outcomes]
    if decision.decision == "skip" then
      decision.by = decision.reason
      decision.because = (decision.checks or {})[decision.reason]
      rows[#rows + 1] = decision
    elseif not last and (decision.not_before or 0) > native.sim_now(host.id) then
      decision.by = tell.deferred_by(decision)
      decision.because = (decision.checks or {})[decision.by]
      rows[#rows + 1] = decision
    elseif last and last.outcome ~= "accepted" and last.outcome ~= "retry" and last.outcome ~= "resent" then
      decision.by = last.outcome
      decision.because = last.detail
      rows[#rows + 1] = decision
    end
  end
  return rows
end

--- Every run of a rule that asked for nothing or failed, and every decision on a message.
local function explained(host)
  local rows = {}
  for _, run in ipairs(native.sim_runs(host.id)) do
    if run.decision == "none" or run.decision == "failed" or run.segment then
      run.because = run.reason
      rows[#rows + 1] = run
    end
  end
  for _, decision in ipairs(native.sim_decisions(host.id)) do
    if decision.decision == "send" or decision.decision == "skip" then
      decision.because = decision.decision == "skip" and (decision.checks or {})[decision.reason] or ""
      rows[#rows + 1] = decision
    end
  end
  return rows
end

local function failures(host)
  local rows = {}
  for _, letter in ipairs(native.sim_dead(host.id)) do
    if letter.kind == "rule" then
      rows[#rows + 1] = letter
    end
  end
  return rows
end

--- Who came into which experiment.
local function exposures(host)
  local rows = {}
  for _, entity in ipairs(native.sim_entities(host.id)) do
    local known = entity.user and native.sim_user(host.id, entity.user)
    for _, exposure in ipairs(known and known.experiments or {}) do
      exposure.user = entity.user
      rows[#rows + 1] = exposure
    end
  end
  return rows
end

local sent_fields = { "to", "template", "campaign", "channel", "provider", "purpose", "subject", "subject_has", "text_has",
  "html_has", "data", "at", "times" }

local kinds = {
  {
    name = "sent", counts = true, example = '{ to = "ada", template = "hello" }', fields = sent_fields,
    one = "message sent", many = "messages sent", others = "sent were:", line = tell.message,
    rows = function(host) return native.sim_sent(host.id) end,
  },
  {
    name = "held_back", counts = true, example = '{ to = "ada", by = "once_per" }',
    fields = { "to", "template", "campaign", "channel", "purpose", "by", "because", "at", "waits_until", "times" },
    one = "message held back", many = "messages held back", others = "held back were:", line = tell.decision, rows = held_back,
  },
  {
    name = "why", example = '{ to = "ada", campaign = "welcome", decision = "none" }',
    fields = { "to", "campaign", "segment", "template", "channel", "decision", "because", "facts", "checks", "at", "times" },
    one = "decision", many = "decisions", others = "decided was:", line = tell.decision, rows = explained,
  },
  {
    name = "exposed", counts = true, example = '{ to = "ada", experiment = "subject_line", variant = "urgent" }',
    fields = { "to", "experiment", "variant", "goal", "value", "at", "times" },
    one = "user in an experiment", many = "users in experiments", others = "there were:", rows = exposures,
    line = function(host, row)
      return tell.time(host, row.at) .. "  " .. row.user .. " came into " .. row.experiment .. ": " .. row.variant
        .. (row.goal_at and ", goal " .. tell.time(host, row.goal_at) or "")
    end,
  },
  {
    name = "failed", example = '{ campaign = "welcome" }', fields = { "to", "campaign", "error_has", "times" },
    one = "failed run of a rule", many = "failed runs of rules", others = "failed have:", line = tell.decision, rows = failures,
    known = function(host, found)
      for _, letter in ipairs(found) do
        host.failures_known[letter.id] = true
      end
    end,
  },
}

for _, kind in ipairs(kinds) do
  luassert:register("assertion", kind.name, function(state, arguments)
    return judge(kind, state, arguments)
  end)
end

--- Messages like this, for host:sent.
---@param host kairos.SpecHost
---@param like kairos.SpecSent?
function assertions.sent(host, like)
  like = like or {}
  check(host, "host:sent", like, sent_fields, 'host:sent { to = "ada" }')
  return (sort(native.sim_sent(host.id), resolve(host, "host:sent", like)))
end

return assertions
