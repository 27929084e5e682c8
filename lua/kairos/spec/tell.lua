--- Stories: what happened to a user, in words.

local native = require "kairos.native"

local tell = {}

--- A failure shows this many steps of a story, the last ones, and so many stories.
local STEPS_SHOWN, VALUE_SHOWN = 60, 120

--- A moment in the host's zone: "Mon 2026-06-01 14:00:00 CEST".
function tell.time(host, ms)
  return native.time(ms, host.zone)
end

--- A value on one line, not too long.
---@param value any
---@param most? number  bytes
function tell.value(value, most)
  local text = native.json(value)
  most = most or VALUE_SHOWN
  if #text > most then
    -- Not in the middle of a character.
    while most > 0 and (text:byte(most + 1) or 0) >= 0x80 and (text:byte(most + 1) or 0) < 0xC0 do
      most = most - 1
    end
    text = text:sub(1, most) .. "…"
  end
  return text
end

--- "email reminder", or only the channel of what has no template.
local function name_of(message)
  return ((message.channel or "") .. " " .. (message.template or "")):match "^%s*(.-)%s*$"
end

--- The check that lets a message pass, but not now.
---@param decision table
---@return string
function tell.deferred_by(decision)
  local quiet = (decision.checks or {}).quiet_hours
  return quiet and quiet:find("not before", 1, true) and "quiet_hours" or "cap"
end

local function channels(channel)
  return channel == "*" and "every channel" or channel
end

local function first_lines(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1] = line
  end
  return lines
end

local outcomes = {
  accepted = function(step, message)
    return "sent: " .. message .. (step.attempt > 1 and " (attempt " .. step.attempt .. ")" or "")
  end,
  retry = function(step, message, host)
    return "not sent yet: " .. message .. ", " .. step.detail .. "; again at " .. tell.time(host, step.retry_at)
  end,
}

--- One step of a story as lines.
local steps = {
  event = function(step, host, say)
    local late = step.timestamp ~= step.at and " (happened " .. tell.time(host, step.timestamp) .. ")" or ""
    say("event " .. step.type .. late .. (next(step.payload or {}) and "  " .. tell.value(step.payload) or ""))
    if step.unheard then
      say("  nothing here asks for events of this type" .. step.unheard)
    end
  end,
  reached = function(step, _, say)
    say("event " .. step.type .. " of " .. step.about .. " reaches " .. step.user)
  end,
  timer = function(step, host, say)
    local late = step.due ~= step.at and " (due " .. tell.time(host, step.due) .. ")" or ""
    if step.name:find "^segment:" then
      return say("the segment " .. step.name:sub(#"segment:" + 1) .. " is judged" .. late)
    end
    say("timer " .. step.name .. " of " .. step.campaign .. late)
  end,
  lookup = function(step, _, say)
    say("what " .. step.campaign .. " waited for is there")
  end,
  not_run = function(step, _, say)
    say("  timer " .. step.timer .. " of " .. step.campaign .. ": its rule does not run: " .. step.reason)
  end,
  consent_granted = function(step, _, say)
    say("  consent to " .. step.purpose .. " on " .. channels(step.channel) .. " is granted")
  end,
  consent_withdrawn = function(step, _, say)
    say("  consent to " .. step.purpose .. " on " .. channels(step.channel) .. " is withdrawn")
  end,
  run = function(step, _, say)
    local said = { send = "asks for a message", skip = "asks for a message", none = step.reason, failed = "fails",
      fan_out = "begins a fan-out over " .. step.reason }
    if step.segment then
      say("  segment " .. step.segment .. " is judged: " .. (step.decision == "failed" and "fails" or step.decision))
    else
      say("  rule " .. step.campaign .. (step.ran == false and " does not run: " .. step.reason
        or ": " .. (said[step.decision] or step.decision)))
    end
    for _, name in ipairs(require "kairos.spec.words".keys(step.facts)) do
      if name ~= "fan_out" then -- told of before
        say("    read " .. name .. " = " .. tell.value(step.facts[name]))
      end
    end
  end,
  decision = function(step, host, say)
    local passes = step.decision == "send" and "the gate lets it pass" or "held back by " .. step.reason
    if step.decision == "send" and step.not_before > step.at then
      passes = "held back by " .. tell.deferred_by(step) .. " until " .. tell.time(host, step.not_before)
    end
    say("  " .. name_of(step) .. ": " .. passes)
    local told = {}
    local function answer(name)
      if step.checks and step.checks[name] and not told[name] then
        told[name] = true
        say("    " .. name .. ": " .. step.checks[name])
      end
    end
    for _, name in ipairs(tell.check_order) do
      answer(name)
    end
    answer(step.reason) -- what the host itself said: a shadow, or another campaign went first
  end,
  outcome = function(step, host, say, message)
    local how = outcomes[step.outcome]
    say("  " .. (how and how(step, message, host) or "not sent: " .. message .. ", " .. step.outcome .. ": " .. step.detail))
  end,
  derived = function(step, _, say)
    say("  leads to the event " .. step.type .. (next(step.payload or {}) and "  " .. tell.value(step.payload) or ""))
  end,
  journey = function(step, host, say)
    local which = "journey " .. step.campaign .. (step.key ~= "" and " of " .. step.key or "")
    if step.state == "parked" then
      return say("  the " .. which .. " is parked" .. (step.step ~= "" and " at " .. step.step or ""))
    end
    say("  the " .. which .. (step.state == "watching" and " has ended, and is watched for " or " waits at ") .. step.step
      .. (step.due and ", until " .. tell.time(host, step.due) or ""))
  end,
  journey_end = function(step, _, say)
    say("  the journey " .. step.campaign .. (step.key ~= "" and " of " .. step.key or "") .. " is " .. step.how
      .. (step.reason ~= "" and ": " .. step.reason or ""))
  end,
  entered = function(step, _, say)
    say("  enters the segment " .. step.segment)
  end,
  left = function(step, _, say)
    say("  leaves the segment " .. step.segment)
  end,
  failed = function(step, _, say)
    for i, line in ipairs(first_lines(step.error)) do
      say((i == 1 and "  rule " .. step.campaign .. " failed: " or "    ") .. line)
    end
  end,
  attribute = function(step, _, say)
    say("  profile: " .. step.name .. (step.value == nil and " is removed" or " = " .. tell.value(step.value)))
  end,
  timer_set = function(step, host, say)
    if step.name:find "^segment:" then
      return say("  the segment " .. step.name:sub(#"segment:" + 1) .. " may change at " .. tell.time(host, step.due))
    elseif step.name:find "^needs:" then
      return say("  rule " .. step.campaign .. " waits for what it needs, until " .. tell.time(host, step.due) .. " at most")
    end
    say("  sets the timer " .. step.name .. " of " .. step.campaign .. " for " .. tell.time(host, step.due))
  end,
  timer_clear = function(step, _, say)
    if step.name:find "^segment:" then
      return
    end
    say("  cancels the timer " .. step.name .. " of " .. step.campaign)
  end,
  exposure = function(step, _, say)
    say("  comes into the experiment " .. step.experiment .. ": " .. step.variant)
  end,
  goal = function(step, _, say)
    say("  reaches the goal of " .. step.experiment .. " (" .. step.variant .. ")")
  end,
  suppressed = function(step, _, say)
    say("  no more messages on " .. channels(step.channel) .. ": " .. step.reason)
  end,
  unsuppressed = function(step, _, say)
    say("  messages again on " .. channels(step.channel))
  end,
}

--- Steps that begin something new: what comes before them had no effect.
local begins = { event = true, timer = true, lookup = true, reached = true, attempt = true, outcome = true }

--- What to say of an event that nothing came of; nil if something asks for its type, or a journey may wait for it.
local function unheard(event_type, names)
  for _, name in ipairs(names.events) do
    if name == event_type then
      return nil
    end
  end
  local meant = require "kairos.spec.words".meant(event_type, names.events)
  return (meant ~= "" or not names.journeys) and meant or nil
end

--- Lines of a story: { at, text }.
local function lines_of(host, id, is_subject)
  local lines, messages, input, waits = {}, {}, {}, {}
  local names, story = native.sim_names(host.id), native.sim_story(host.id, id, is_subject)
  tell.check_order = names.checks
  for i, step in ipairs(story) do
    if step.kind == "event" and begins[(story[i + 1] or step).kind] then
      step.unheard = unheard(step.type, names)
    end
    if step.kind == "event" or step.kind == "timer" or step.kind == "lookup" or step.kind == "reached" then
      input = step
    elseif step.kind == "decision" then
      messages[step.message_id] = name_of(step)
      waits[step.message_id] = step.decision == "send" and step.not_before <= native.sim_now(host.id) or nil
    elseif step.kind == "outcome" then
      waits[step.message_id] = nil
    end
    -- What an identify sets stands in it, and a timer that fires is cleared by it.
    local said = (step.kind == "attribute" and input.type == "identify")
      or (step.kind == "timer_clear" and input.kind == "timer" and input.name == step.name)
      or (step.kind == "timer_clear" and input.kind == "lookup" and step.name:find "^needs:")
    local teller = not said and steps[step.kind]
    if teller then
      teller(step, host, function(text)
        lines[#lines + 1] = { step.kind == "run" and input.at or step.at, text }
      end, messages[step.message_id] or "a message")
    end
  end
  for message_id in pairs(waits) do
    lines[#lines + 1] = { native.sim_now(host.id), "  " .. messages[message_id]
      .. " waits: its provider's rate or breaker, a limit or a pause holds it up" }
  end
  return lines
end

--- What happened to a user, or to a subject: lines with the virtual time at which each happened.
---@param host kairos.SpecHost
---@param id string
---@param is_subject? boolean  nil: of the user, or of the subject if nothing happened to one
---@return string
function tell.story(host, id, is_subject)
  local lines = lines_of(host, id, is_subject)
  if #lines == 0 and is_subject == nil then
    lines = lines_of(host, id, true)
  end
  local out = { "what happened to " .. id .. ":" }
  if #lines == 0 then
    out[2] = "  nothing"
  elseif #lines > STEPS_SHOWN then
    out[2] = "  (" .. (#lines - STEPS_SHOWN) .. " earlier lines are left out)"
  end
  local last
  for i = math.max(1, #lines - STEPS_SHOWN + 1), #lines do
    local time = tell.time(host, lines[i][1])
    out[#out + 1] = "  " .. (time == last and (" "):rep(#time) or time) .. "  " .. lines[i][2]
    last = time
  end
  return table.concat(out, "\n")
end

--- A message in a line.
function tell.message(host, message)
  local subject = message.subject ~= "" and ' "' .. message.subject .. '"' or ""
  return tell.time(host, message.at) .. "  " .. name_of(message) .. " to " .. (message.user or "?") .. subject
end

--- A decision in a line.
function tell.decision(host, decision)
  local what = decision.template and name_of(decision) or decision.segment and "segment " .. decision.segment
    or "rule " .. (decision.campaign or "")
  return tell.time(host, decision.at) .. "  " .. what .. " to " .. (decision.user or decision.subject or "?")
end

return tell
