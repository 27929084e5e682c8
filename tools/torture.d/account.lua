--- The accounting: what the host says of each user by its own doors, held against what was posted (clients), what was
--- answered, what the providers saw (sink) and what the rules must have made of it (model). The host's times are by its own
--- clock, which was set (wall); they are compared with times from outside by what that clock can have shown then.
local cjson = require "cjson"
local drops = require "drops"
local files = require "spec.functional.support.files"
local model = require "model"
local operator = require "operator"
local segment = require "segment"
local travels = require "travels"

local account = {}
account.__index = account

local SHOWN = 25 -- faults of a kind
local TOLD_LATE_MS = 5000 -- how long a suppression may take to reach what waits for its provider
local RANG_LATE_MS = 8000 -- and a timer to ring; one that was overdue when it was set is held back for a second of these
local PAUSED_LATE_MS = 1000 -- and a request that was under way when its provider was paused to arrive
local SET_MS = 4000 -- so long after the clock was set something may still come by what it showed before

--- @param options  clients, operator, socket = path, data = directory, requests = the sink's file, stops = {from, till}
--   in ms, each a time in which the host died or failed, wall, patience
function account.new(options)
  return setmetatable({ options = options, faults = {}, fault_count = 0, rows = {} }, account)
end

function account:fault(kind, text, ...)
  if select("#", ...) > 0 then text = text:format(...) end
  self.fault_count = self.fault_count + 1
  local list = self.faults[kind] or { count = 0 }
  self.faults[kind] = list
  list.count = list.count + 1
  if list.count <= SHOWN then list[#list + 1] = text end
end

local function add(map, key, amount)
  map[key] = (map[key] or 0) + (amount or 1)
end

local function same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- ---- what was seen outside ----

--- Requests by message; two keys or two bodies of one message are faults.
local function read_requests(self)
  local by_key, key_of, count = {}, {}, 0
  for line in files.read(self.options.requests):gmatch "[^\n]+" do
    local request = cjson.decode(line)
    count = count + 1
    local list = by_key[request.key] or { to = request.to, seen = false }
    by_key[request.key] = list
    if request.same ~= request.key then self:fault("keys", "message %s was sent under key %s", request.same, request.key) end
    if list.to ~= request.to then self:fault("keys", "message %s went to %s and %s", request.key, list.to, request.to) end
    if list[1] and (list[1].digest ~= request.digest or list[1].text ~= request.text) then
      self:fault("bodies", "message %s was sent with two bodies: %s and %s", request.key, list[1].text, request.text)
    end
    -- What a message says begins with its event's number; of each event a template goes out once.
    local what = request.user .. " " .. request.template .. " " .. request.text
    if key_of[what] and key_of[what] ~= request.key then
      self:fault("keys", "one message under two keys, %s and %s: %s", key_of[what], request.key, what)
    end
    key_of[what] = request.key
    list[#list + 1] = request
    local sent = self.requests_to[request.to] or {}
    self.requests_to[request.to] = sent
    sent[#sent + 1] = request.at
    add(self.answers, request.answer)
  end
  return by_key, count
end

local function read_files(self)
  local found = {}
  for _, name in ipairs(files.under(self.options.data .. "/messages")) do
    local id = name:match "(%x+)%.json$"
    if not id then
      self:fault("files", "%s lies among the messages", name)
    else
      local message = cjson.decode(files.read(self.options.data .. "/messages/" .. name))
      found[message.message_id] = message
      if found[message.message_id].file then self:fault("files", "two files of message %s", message.message_id) end
      message.file = name
    end
  end
  return found
end

-- ---- one user's past ----

--- An event from after its receipt, by the host's clock, is judged as of its receipt.
local function check_moment(self, user, event, at)
  if at == event.at then return end
  local first, last = self.options.wall:shown(at)
  if at > event.at or not first or last < event.first_at or first > (event.acknowledged_at or math.huge) then
    self:fault("events", "%s: event %s, of %.0f, was taken as of %.0f", user, event.id, event.at, at)
  end
  event.at = at
  self.as_received = self.as_received + 1
end

--- The model, moved through all that the host says it took.
local function replay(self, user, rows)
  local clients = self.options.clients
  local books = model.new(user, function(text) self:fault("order", "%s: %s", user, text) end)
  local facts, taken, waited = {}, {}, {}
  for _, row in ipairs(rows) do
    local event = clients.by_id[row.cause]
    facts[row.cause .. "|" .. row.campaign] = row.facts
    if row.segment then -- check_segment() goes through them
      facts[row.cause .. "|" .. row.campaign] = nil
    elseif row.campaign == "books" and event then
      if taken[row.cause] then self:fault("events", "%s: event %s took effect twice", user, row.cause) end
      if event.user ~= user then self:fault("events", "%s: event %s is of %s", user, row.cause, event.user) end
      check_moment(self, user, event, row.at)
      taken[row.cause] = true
      books:event(event)
    elseif row.campaign == "books" then
      local name, due = row.cause:match "^timer:books/(%a+)@(%d+)$"
      if name then
        books:timer(name, tonumber(due))
      else
        self:fault("events", "%s: what nobody sent took effect: %s", user, row.cause)
      end
    elseif row.campaign == "travelling" then
      if row.decision == "failed" then self:fault("journeys", "%s: %s: %s", user, row.cause, row.reason) end
      if row.decision == "send" then self.travels:replayed(user) end
    elseif row.campaign == "drops" then
      self.drops:replayed(user, row)
    elseif row.campaign == "waiting" then
      if waited[row.cause] then self:fault("look-ups", "%s: what waited with %s ran twice", user, row.cause) end
      if row.decision ~= (event and event.payload.waits and "send" or "none") then
        self:fault("look-ups", "%s: what waited with %s came to %s", user, row.cause, row.decision)
      end
      waited[row.cause] = true
      if event and event.payload.waits then add(self.needs, row.facts["needs.stock_state"]) end
    elseif (row.decision == "failed") ~= (event and event.payload.fails or false) then
      self:fault("rules", "%s: %s of %s came to %s", user, row.campaign, row.cause, row.decision)
    end
  end
  return books, facts, taken
end

local function check_record(self, user, books, record)
  if not same(record.attributes, books.attributes) then
    for name, value in pairs(books.attributes) do
      if record.attributes[name] ~= value then
        self:fault("profile", "%s: %s is %s and should be %s", user, name, tostring(record.attributes[name]), tostring(value))
      end
    end
    for name in pairs(record.attributes) do
      if books.attributes[name] == nil then self:fault("profile", "%s: %s should not be there", user, name) end
    end
  end
  local waiting = 0
  for _, timer in ipairs(record.timers) do
    waiting = waiting + 1
    local wanted = books.timers[timer.name]
    if not wanted or wanted.due ~= timer.due then
      self:fault("timers", "%s: %s waits for %.0f and should not", user, timer.name, timer.due)
    end
  end
  for name, timer in pairs(books.timers) do
    waiting = waiting - 1
    self:fault("timers", "%s: %s, due %.0f, did not fire", user, name, timer.due)
  end
  if waiting ~= 0 then self:fault("timers", "%s: %d timers too many", user, waiting) end
  local exposure, wanted = record.experiments[1], books.exposure
  for _, field in ipairs { "at", "goal_at", "value" } do
    if (exposure or {})[field] ~= (wanted or {})[field] then
      self:fault("experiments", "%s: %s is %s and should be %s", user, field, tostring((exposure or {})[field]),
        tostring((wanted or {})[field]))
    end
  end
  if wanted then self.exposed, self.goals = self.exposed + 1, self.goals + (wanted.goal_at and 1 or 0) end
  local _, tat = next(record.throttles)
  if (tat or 0) ~= books.tat then
    self:fault("throttles", "%s: the throttle stands at %.0f and should at %.0f", user, tat or 0, books.tat)
  end
  for _, window in ipairs(record.windows) do
    if window.newest ~= books.all.newest then
      self:fault("windows", "%s: the newest %s is of %.0f and should be of %.0f", user, window.kind, window.newest,
        books.all.newest or 0)
    end
  end
end

--- Suppressions by command: the last that was answered holds, unless later ones were not.
local function check_commands(self, user, record, decisions)
  local commands = self.options.operator.suppressions[user] or {}
  local can, least, most = { [false] = true }, { [true] = 0, [false] = 0 }, { [true] = 0, [false] = 0 }
  for _, command in ipairs(commands) do
    if command.done then can = {} end
    can[command.on] = true
    most[command.on] = most[command.on] + 1
    if command.done then least[command.on] = least[command.on] + 1 end
  end
  local is = false
  for _, suppression in ipairs(record.suppressions) do is = is or suppression.channel == "sms" end
  if not can[is] then self:fault("commands", "%s: sms is %s", user, is and "suppressed" or "not suppressed") end
  local said = { [true] = 0, [false] = 0 }
  for _, decision in ipairs(decisions) do
    if decision.channel == "sms" then
      local on = decision.decision == "suppressed"
      said[on] = said[on] + 1
    end
  end
  for on, name in pairs { [true] = "suppress", [false] = "unsuppress" } do
    if said[on] < least[on] or said[on] > most[on] then
      self:fault("commands", "%s: %d times %s, and %d to %d were asked for", user, said[on], name, least[on], most[on])
    end
  end
  self.commands = self.commands + #commands
end

-- ---- one message ----

local function interrupted(self, from, till)
  for _, stop in ipairs(self.options.stops) do
    if stop.from <= till and from <= stop.till then return true end
  end
  return false
end

--- Why a message is held must be seen from outside too: an answer that did not come, or a host that stopped.
local function check_held(self, decision, outcome, requests)
  local attempt
  for _, one in ipairs(decision.attempts) do
    if one.seq < outcome.seq then attempt = one end
  end
  local last = requests[#requests]
  local detail = outcome.detail
  local from = attempt and self.options.wall:earliest(attempt.at)
  local till = self.options.wall:latest(outcome.at)
  local explained
  if not attempt then
    explained = false
  elseif detail:find("^interrupted") then
    explained = interrupted(self, from, till)
  elseif detail:find("^injected") then
    explained = self.options.injected
  elseif detail:find("^timeout") then
    explained = last ~= nil
  else
    explained = false
    for _, request in ipairs(requests) do
      explained = explained or request.answer == "closed" and request.at >= from and request.at <= till
    end
  end
  if not explained then
    self:fault("held", "message %s is held, and nothing says why: %s", decision.message_id, detail)
  end
  add(self.reasons, (detail:match "^[^;(]*":gsub("%s+$", "")))
end

--- No request without its attempt being logged before; libcurl repeats one by itself where keys are honoured.
local function check_attempts(self, decision, requests)
  for index, request in ipairs(requests) do
    local logged = 0
    for _, attempt in ipairs(decision.attempts) do
      if self.options.wall:earliest(attempt.at) <= request.at then logged = logged + 1 end
    end
    if index > logged and decision.provider ~= "keyed" then
      self:fault("attempts", "message %s: request %d, and %d attempts were logged by then", decision.message_id, index, logged)
    end
  end
  if #requests > 0 and #decision.attempts == 0 then
    self:fault("attempts", "message %s: %d requests and no attempt", decision.message_id, #requests)
  end
end

--- Of the attempts that were logged those that the host says were not begun sent nothing.
local function check_unsent(self, decision, requests)
  local unsent, before = 0, 0
  for _, outcome in ipairs(decision.outcomes) do
    if outcome.outcome == "resent" then
      unsent, before = unsent + before, 0 -- its attempts are counted anew
    else
      before = math.max(before, outcome.unsent or 0)
    end
  end
  unsent = unsent + before
  self.unsent = self.unsent + unsent
  if decision.provider ~= "keyed" and #requests > #decision.attempts - unsent then
    self:fault("attempts", "message %s: %d requests, of %d attempts, %d of which were not begun", decision.message_id, #requests,
      #decision.attempts, unsent)
  end
end

--- From the answer that its provider is paused, until somebody asks that it goes on, none goes out, whatever happens to the
--- host.
local function check_pauses(self)
  for name, orders in pairs(self.options.operator.providers) do
    local sent = self.requests_to[name] or {}
    for index, order in ipairs(orders) do
      local next_one = orders[index + 1]
      if order.what == "pause" then self.pauses = self.pauses + 1 end
      for _, at in ipairs(order.what == "pause" and order.done and sent or {}) do
        if at > order.answered + PAUSED_LATE_MS * self.options.patience and at < next_one.asked then
          self:fault("pauses", "%s had a request at %d, %d ms after the answer that it is paused", name, at, at - order.answered)
        end
      end
    end
  end
end

--- To who knows no keys at most one request may have arrived unseen, unless the account or the operator says otherwise.
local function check_once(self, decision, requests, resent)
  if decision.provider ~= "holding" then return end
  local open = 0
  for _, request in ipairs(requests) do
    if request.answer ~= "500" and request.answer ~= "429" then open = open + 1 end
  end
  if open > 1 + resent then
    self:fault("repeated", "message %s went out %d times, and was sent again by the operator %d times: %s",
      decision.message_id, open, resent, decision.cause)
  end
end

--- An end is an end: only an operator begins anew. @return the last outcome, how often it was sent again
local function check_course(self, decision)
  local last, resent, ended_at = nil, 0, nil
  for _, outcome in ipairs(decision.outcomes) do
    if outcome.outcome == "resent" then
      resent = resent + 1
      ended_at = nil
    elseif ended_at then
      self:fault("course", "message %s ended as %s, and then as %s (%s)", decision.message_id, last.outcome, outcome.outcome,
        outcome.detail)
    elseif outcome.outcome ~= "retry" then
      ended_at = outcome.seq
      for _, attempt in ipairs(decision.attempts) do
        local again = false
        for _, later in ipairs(decision.outcomes) do
          again = again or later.outcome == "resent" and later.seq > outcome.seq and later.seq < attempt.seq
        end
        if attempt.seq > ended_at and not again then
          self:fault("course", "message %s ended as %s, and was tried again", decision.message_id, outcome.outcome)
        end
      end
    end
    last = outcome
  end
  return last, resent
end

local function check_delivery(self, user, decision, wanted, requests)
  local last, resent = check_course(self, decision)
  local final = last and last.outcome or "none"
  local last_attempt = decision.attempts[#decision.attempts]
  if final == "none" or final == "retry" or final == "resent" or last_attempt and last_attempt.seq > last.seq then
    self:fault("unfinished", "%s: message %s, %s of %s, came to no end (%s)", user, decision.message_id, decision.template,
      decision.cause, final)
    return
  end
  add(self.ends, final)
  add(self.ends_of, decision.provider .. " " .. final)
  local answered = {}
  for _, request in ipairs(requests) do answered[request.answer] = true end
  if final == "accepted" and decision.provider ~= "files" and not answered["200"] and not answered.late then
    self:fault("lost", "%s: message %s is accepted, and no request was", user, decision.message_id)
  elseif final == "rejected" and not (wanted and wanted.refused and answered["400"]) then
    self:fault("lost", "%s: message %s is rejected: %s", user, decision.message_id, last.detail)
  elseif final == "cancelled" and not (decision.channel == "webhook" and self.suppressed) then
    self:fault("lost", "%s: message %s is cancelled: %s", user, decision.message_id, last.detail)
  elseif final == "exhausted" or final == "expired" then
    self:fault("lost", "%s: message %s is %s: %s", user, decision.message_id, final, last.detail)
  elseif final == "held" and decision.provider ~= "holding" then
    self:fault("held", "%s: message %s is held, and %s is not to hold", user, decision.message_id, decision.provider)
  end
  for _, outcome in ipairs(decision.outcomes) do
    if outcome.outcome == "held" then check_held(self, decision, outcome, requests) end
  end
  check_attempts(self, decision, requests)
  check_unsent(self, decision, requests)
  check_once(self, decision, requests, resent)
  local known = self.options.operator.resent[decision.message_id] or { done = 0, perhaps = 0 }
  if resent < known.done or resent > known.done + known.perhaps then
    self:fault("commands", "message %s was sent again %d times, and that was asked %d to %d times", decision.message_id,
      resent, known.done, known.done + known.perhaps)
  end
  self.resent = self.resent + resent
  if final == "held" or final == "rejected" then self.letters[decision.message_id] = final end
end

--- What was put off for quiet hours does not come in others, unless the clock has just been set.
local function check_quiet(self, user, decision)
  if not decision.not_before then return end
  self.put_off = self.put_off + 1
  local wall, attempt = self.options.wall, decision.attempts[1]
  if not wall:is_quiet(decision.accepted) or wall:is_quiet(decision.not_before) then
    self:fault("quiet hours", "%s: message %s, decided at %.0f, waits until %.0f", user, decision.message_id, decision.accepted,
      decision.not_before)
  end
  local first, last = wall:shown(attempt and attempt.at or 0)
  if first and attempt.at < decision.not_before and not wall:was_set(first - SET_MS * self.options.patience, last) then
    self:fault("quiet hours", "%s: message %s went at %.0f, and was to wait until %.0f", user, decision.message_id, attempt.at,
      decision.not_before)
  end
end

local function check_message(self, user, decision, wanted, facts)
  self.decided = self.decided + 1
  local label = ("%s: %s of %s"):format(user, decision.template, decision.cause)
  if decision.decision ~= wanted.decision or decision.reason ~= wanted.reason then
    self:fault("gate", "%s: the gate said %s %s and should have said %s %s", label, decision.decision, decision.reason,
      wanted.decision, wanted.reason)
    return
  end
  -- What it was decided on is what a replay of the user's events reads.
  for name, value in pairs(decision.facts) do
    if not facts or not same(facts[name], value) then
      self:fault("facts", "%s: decided on %s = %s, and the replay reads %s", label, name, cjson.encode(value),
        facts and cjson.encode(facts[name] or cjson.null) or "nothing")
    end
  end
  if decision.decision == "skip" then
    add(self.skips, decision.reason)
    return
  end
  if decision.provider ~= wanted.provider then self:fault("gate", "%s goes to %s", label, decision.provider) end
  local requests = self.requests[decision.message_id] or {}
  local file = self.files[decision.message_id]
  local text = file and file.body or requests[1] and requests[1].text
  requests.seen = true
  if file then file.seen = true end
  if text and not model.says(wanted.texts, text) then
    local words = {}
    for index, word in ipairs(wanted.texts) do
      words[index] = type(word) == "table" and word[1] .. ".." .. word[2] or tostring(word)
    end
    self:fault("texts", "%s says %q and should say %q", label, text, table.concat(words, " "))
  end
  if decision.provider == "files" and not file then self:fault("lost", "%s: there is no file", label) end
  check_delivery(self, user, decision, wanted, requests)
  check_quiet(self, user, decision)
end

--- A timer rings when it is due by the host's clock, or when its event has come, unless the host was down or the clock was set
--- meanwhile.
local function check_in_time(self, user, decision, number)
  local wall, late = self.options.wall, RANG_LATE_MS * self.options.patience
  local due = tonumber(decision.cause:match "@(%d+)$")
  local event = self.options.clients.events[number]
  local first, last = wall:shown(decision.accepted)
  if not first then
    self:fault("timers", "%s: %s rang at %.0f, which the host's clock never showed", user, decision.cause, decision.accepted)
    return
  end
  if decision.accepted < due and not wall:was_set(first - SET_MS * self.options.patience, last) then
    self:fault("timers", "%s: %s rang %.0f ms too early", user, decision.cause, due - decision.accepted)
  end
  for _, could in ipairs(wall:passes(due, event.sent_at)) do
    if first > could + late and not interrupted(self, could, could + late) and not wall:was_set(could + 1, could + late) then
      self:fault("timers", "%s: %s rang %.0f ms too late", user, decision.cause, first - could)
      return
    end
  end
end

--- Who has said no gets nothing more, but for what was on its way; and of that nothing after a restart.
local function check_suppressed(self, user, decisions, taken)
  local since = math.huge
  for id in pairs(taken) do
    local event = self.options.clients.by_id[id]
    if event.type == "message.unsubscribed" then since = math.min(since, event.acknowledged_at or math.huge) end
  end
  if since == math.huge then return end
  local death = math.huge
  for _, stop in ipairs(self.options.stops) do
    if stop.till >= since then death = math.min(death, stop.till) end
  end
  for _, decision in ipairs(decisions) do
    for _, attempt in ipairs(decision.channel == "webhook" and decision.attempts or {}) do
      local at = self.options.wall:earliest(attempt.at)
      if at > death then
        self:fault("suppressed", "%s: message %s was tried after a restart, although the user had said no", user,
          decision.message_id)
      elseif at > since + TOLD_LATE_MS * self.options.patience then
        self:fault("suppressed", "%s: message %s was tried %.0f ms after the user said no", user, decision.message_id,
          at - since)
      end
    end
  end
end

--- A message of a journey; travels.lua knows which there must be.
local function check_travel(self, user, decision)
  if decision.decision == "journey ended" then return end
  local file = decision.message_id and self.files[decision.message_id]
  if file then file.seen = true end
  self.travels:told(user, decision, file and file.body)
  if decision.decision == "send" then check_delivery(self, user, decision, nil, {}) end
  self.expected, self.decided = self.expected + 1, self.decided + 1
end

--- A message of a fan-out; drops.lua knows whom it must reach.
local function check_drop(self, user, decision)
  local file = decision.message_id and self.files[decision.message_id]
  if file then file.seen = true end
  self.drops:told(user, decision, file and file.body, self.options.clients.by_id[decision.cause])
  if decision.decision == "send" then check_delivery(self, user, decision, nil, {}) end
  self.expected, self.decided = self.expected + 1, self.decided + 1
end

--- What is logged of who came and went, against what the events say.
local function check_segment(self, user, rows, decisions, record)
  local function fault(text) self:fault("segments", "%s: %s", user, text) end
  local moves = segment.check(rows, self.options.clients.by_id, fault)
  if not moves then return end
  local logged = {}
  for _, decision in ipairs(decisions) do
    if decision.segment then logged[#logged + 1] = ("%s at %.0f"):format(decision.decision, decision.at) end
  end
  for index = 1, math.max(#moves, #logged) do
    if moves[index] ~= logged[index] then
      fault(("change %d is %s and should be %s"):format(index, tostring(logged[index]), tostring(moves[index])))
      break
    end
  end
  if next(record.segments) then fault "is still in" end
  self.moves = self.moves + #moves
end

local function check_user(self, user)
  local function ask(command, text)
    return operator.ask(self.options.socket, { command = command, user = user, text = text })
  end
  local record, decisions = ask "user", ask "why"
  local books, facts, taken = replay(self, user, ask "replay")
  self.suppressed = books.suppressed
  check_record(self, user, books, record)
  check_segment(self, user, ask("replay", "busy"), decisions, record)
  check_commands(self, user, record, decisions)
  check_suppressed(self, user, decisions, taken)
  local said = {}
  for _, decision in ipairs(decisions) do
    local key = decision.template and decision.cause .. "|" .. decision.template
    if decision.decision == "failed" then
      if not books.failures[decision.cause] then
        self:fault("rules", "%s: %s failed on %s: %s", user, decision.campaign, decision.cause, decision.error)
      end
      if said[decision.cause] then self:fault("rules", "%s: %s failed twice", user, decision.cause) end
      said[decision.cause] = true
      self.failures = self.failures + 1
    elseif decision.campaign == "travelling" then
      check_travel(self, user, decision)
    elseif decision.campaign == "drops" then
      check_drop(self, user, decision)
    elseif key and not books.messages[key] then
      self:fault("messages", "%s: %s of %s should not have been decided", user, decision.template, decision.cause)
    elseif key and said[key] then
      self:fault("messages", "%s: %s of %s was decided twice", user, decision.template, decision.cause)
    elseif key then
      said[key] = true
      if decision.template == "due" then check_in_time(self, user, decision, books.messages[key].number) end
      check_message(self, user, decision, books.messages[key], facts[decision.cause .. "|" .. decision.campaign])
    end
  end
  for key, wanted in pairs(books.messages) do
    if not said[key] then self:fault("messages", "%s: nothing is known of %s of %s", user, wanted.template, wanted.cause) end
    self.expected = self.expected + 1
  end
  for cause in pairs(books.failures) do
    if not said[cause] then self:fault("rules", "%s: the failure of %s is not known", user, cause) end
  end
  for _ in pairs(books.fired) do self.fired = self.fired + 1 end
  return record, taken
end

-- ---- the whole ----

--- Counted is what the users' own records say.
local function check_experiments(self)
  local told = operator.ask(self.options.socket, { command = "experiments" }).experiments[1]
  if told.exposures ~= self.exposed or told.goals ~= self.goals then
    self:fault("experiments", "%d users are counted, and %d goals; there were %d and %d", told.exposures, told.goals,
      self.exposed, self.goals)
  end
end

--- Whom the index finds in the segment: nobody, since everybody has left.
local function check_members(self)
  for _, member in ipairs(operator.ask(self.options.socket, { command = "segments", id = "busy" }).members) do
    self:fault("segments", "%s: stands in the index since %.0f, and has left", member.user, member.since)
  end
end

local function check_events(self, taken)
  local counts = { posted = 0, acknowledged = 0, taken = 0, unanswered = 0 }
  for _, event in ipairs(self.options.clients.events) do
    counts.posted = counts.posted + 1
    if taken[event.id] then counts.taken = counts.taken + 1 end
    if event.acknowledged then
      counts.acknowledged = counts.acknowledged + 1
      if not taken[event.id] then self:fault("events", "%s: event %s was acknowledged, and is lost", event.user, event.id) end
    elseif taken[event.id] then
      counts.unanswered = counts.unanswered + 1
    end
  end
  return counts
end

local function check_letters(self)
  local letters = operator.ask(self.options.socket, { command = "dead_list" })
  local rules = 0
  for _, letter in ipairs(letters) do
    if letter.kind == "rule" then
      rules = rules + 1
    elseif self.letters[letter.id] ~= letter.outcome then
      self:fault("letters", "message %s is a dead letter (%s), and the ledger says %s", letter.id, letter.outcome,
        self.letters[letter.id] or "otherwise")
    else
      self.letters[letter.id] = nil
    end
  end
  for id, outcome in pairs(self.letters) do self:fault("letters", "message %s is %s, and no dead letter", id, outcome) end
  if rules ~= self.failures then self:fault("letters", "%d rules failed, and %d are dead letters", self.failures, rules) end
  return letters
end

--- What came to providers and belongs to no decision.
local function check_unknown(self)
  for key, list in pairs(self.requests) do
    if not list.seen then
      self:fault("messages", "%s: message %s went to %s, and nobody decided it: %s", list[1].user, key, list.to, list[1].text)
    end
  end
  for id, message in pairs(self.files) do
    if not message.seen then self:fault("messages", "%s: message %s lies in a file, and nobody decided it", message.user_id, id) end
  end
end

function account:row(name, format, ...)
  self.rows[#self.rows + 1] = { name, format:format(...) }
end

--- Ask about everybody. @return every user's record, every user's decisions count
function account:run()
  self.answers, self.ends, self.ends_of, self.skips, self.reasons, self.letters = {}, {}, {}, {}, {}, {}
  self.needs, self.requests_to = {}, {}
  self.unsent, self.pauses = 0, 0
  self.exposed, self.goals, self.moves = 0, 0, 0
  self.as_received, self.put_off = 0, 0
  self.travels = travels.new { fault = function(...) self:fault(...) end, wall = self.options.wall }
  self.drops = drops.new { fault = function(...) self:fault(...) end, wall = self.options.wall,
    orders = self.options.operator.fan_outs, patience = self.options.patience }
  self.decided, self.expected, self.failures, self.fired, self.resent, self.commands = 0, 0, 0, 0, 0, 0
  local request_count
  self.requests, request_count = read_requests(self)
  self.files = read_files(self)
  local records, taken = {}, {}
  for _, user in ipairs(self.options.clients.users) do
    local ok, record, events = pcall(check_user, self, user)
    if ok then
      records[user] = record
      for id in pairs(events) do taken[id] = true end
    else
      self:fault("answers", "%s: %s", user, tostring(record))
    end
  end
  local fan_outs = operator.ask(self.options.socket, { command = "fanouts" })
  for _, fan_out in ipairs(fan_outs) do taken[fan_out.event_id] = true end
  local counts = check_events(self, taken)
  local trips = {}
  for _, event in ipairs(self.options.clients.events) do
    if event.payload.trip and taken[event.id] then trips[event.number] = event end
  end
  self.travels:account(trips)
  self.drops:account(self.options.clients.events, self.options.clients.by_id, taken, fan_outs)
  local letters = check_letters(self)
  check_unknown(self)
  check_pauses(self)
  check_experiments(self)
  check_members(self)

  local function sum(map)
    local total = 0
    for _, value in pairs(map) do total = total + value end
    return total
  end
  local function list(map)
    local parts = {}
    for name, value in pairs(map) do parts[#parts + 1] = name .. " " .. value end
    table.sort(parts)
    return table.concat(parts, ", ")
  end
  local clients, commands = self.options.clients.counts, self.options.operator
  self:row("requests", "%d, %d without an answer, %d refused whole, %d sent again, %d repeated although answered",
    clients.requests, clients.unanswered, clients.refused, clients.retried, clients.repeated)
  self:row("events", "%d posted, %d acknowledged, %d taken, %d of them among %d that were given up", counts.posted,
    counts.acknowledged, counts.taken, counts.unanswered, counts.posted - counts.acknowledged)
  self:row("messages asked for", "%d by the model, %d in the ledger", self.expected, self.decided)
  self:row("skipped by the gate", "%d: %s", sum(self.skips), list(self.skips))
  self:row("sent by the gate", "%d: %s", sum(self.ends), list(self.ends))
  if sum(self.skips) + sum(self.ends) ~= self.expected then
    self:fault("sum", "%d messages were asked for, %d skipped and %d brought to an end", self.expected, sum(self.skips),
      sum(self.ends))
  end
  self:row("  by provider", "%s", list(self.ends_of))
  self:row("requests to providers", "%d: %s", request_count, list(self.answers))
  self:row("providers", "paused %d times; %d attempts were logged and not begun", self.pauses, self.unsent)
  self:row("held because", "%s", list(self.reasons))
  self:row("sent again by hand", "%d", self.resent)
  self:row("dead letters", "%d, %d of them rules that failed", #letters, self.failures)
  self:row("experiments", "%d users, %d goals", self.exposed, self.goals)
  self:row("segments", "entered and left %d times", self.moves)
  self:row("timers fired", "%d", self.fired)
  self:row("journeys", "%d begun, %d turned by an event; %d times one went on with newer source", self.travels.begun,
    self.travels.turned, self.travels.moved)
  self:row("  asleep", "%d begun that sleep for longer than the run, and are woken by the clock", self.travels.asleep)
  self:row("fan-outs", "%d, which reached %d users; %d were paused, %d stopped", self.drops.count,
    self.drops.reached, self.drops.paused, self.drops.stopped)
  self:row("clock", "set forwards %d times and back %d times; %d events judged as of their receipt, %d messages put off",
    self.options.wall.forwards, self.options.wall.backwards, self.as_received, self.put_off)
  self:row("look-ups", "%d: %s", sum(self.needs), list(self.needs))
  self:row("operator's commands", "%d, %d without an answer", commands.count, commands.unanswered)
  return records
end

--- Once nothing is to come, no user may have a timer that is past: nothing would wake it but the user's next event.
function account:check_rest()
  for _, user in ipairs(self.options.clients.users) do
    local record = operator.ask(self.options.socket, { command = "user", user = user })
    for _, timer in ipairs(record.timers) do
      self:fault("timers", "%s: %s, due %.0f, waits although no timer is said to wait", user, timer.name, timer.due)
    end
  end
end

--- Hold two answers about all users against each other.
function account:compare(before, after, when)
  for user, record in pairs(before) do
    if not same(record, after[user]) then
      self:fault("restart", "%s: the record %s is another: %s and %s", user, when, cjson.encode(record),
        cjson.encode(after[user]))
    end
  end
end

return account
