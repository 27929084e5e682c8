--- What rules/books must have made of a user: the same books, kept from what was posted, in the order in which the host
--- says that it took events and timers.
local model = {}
model.__index = model

local EXACT_MOST, ONCE_MS = 64, 2000
local PACE_INTERVAL_US, PACE_TOLERANCE_US = 500000, 1000000 -- 10/5s, burst = 3

--- @param fault  function(text): the host's order cannot be
function model.new(user, fault)
  return setmetatable({
    user = user, fault = fault,
    attributes = {}, timers = {}, once = {}, tat = 0, suppressed = false,
    all = { entries = {} }, shelves = {}, things = {},
    messages = {}, failures = {}, fired = {},
  }, model)
end

-- ---- windows: all of them longer than the run ----

local function observe(window, at, cents)
  window.newest = math.max(window.newest or at, at)
  window.count = (window.count or 0) + 1
  window.cents = (window.cents or 0) + (cents or 0)
  if window.count <= EXACT_MOST then window.entries[window.count] = { at = at, count = 1, cents = cents } end
end

--- Up to 64 entries a window is exact for any moment, beyond that as of its newest.
-- @param of  "count" or "cents"
-- @return a number, or {least, most}
local function ask(window, now, of)
  if not window.newest or now >= window.newest then return window[of] or 0 end
  if window.count > EXACT_MOST then return { 0, window[of] } end
  local sum = 0
  for _, entry in ipairs(window.entries) do
    if entry.at <= now then sum = sum + entry[of] end
  end
  return sum
end

--- A value is known by its two latest times.
local function observe_thing(things, thing, at)
  local known = things[thing]
  if not known then
    things[thing] = { at, at, single = true }
  elseif at > known[1] then
    known[1], known[2] = at, known[1]
  elseif known.single or at > known[2] then
    known[2] = at
  end
  things[thing].single = not known
end

--- For an earlier moment than the newest event's, a value that came back more often may count or not.
local function ask_things(things, newest, now)
  local sure, all = 0, 0
  for _, known in pairs(things) do
    all = all + 1
    if known[1] <= now or known[2] <= now then sure = sure + 1 end
  end
  return now >= newest and all or { sure, all }
end

-- ---- effects ----

function model:add(name, amount)
  self.attributes[name] = (self.attributes[name] or 0) + amount
end

function model:note(number)
  self:add("total", 1)
  self.attributes.digest = ((self.attributes.digest or 7) * 33 + number) % 1000003
end

function model:allow(now)
  local at = now * 1000
  local tat = self.tat == 0 and at or self.tat
  if at < tat - PACE_TOLERANCE_US then return false end
  self.tat = math.max(tat, at) + PACE_INTERVAL_US
  return true
end

function model:first(key, now)
  if (self.once[key] or -math.huge) > now then return false end
  self.once[key] = now + ONCE_MS
  return true
end

--- A message is asked for; the gate answers. `texts` as the rule joins them; a {least, most} where that is all to be known.
function model:say(cause, template, texts, now, options)
  options = options or {}
  local channel = options.channel or "webhook"
  local decision, reason = "send", ""
  if channel == "webhook" and self.suppressed then
    decision, reason = "skip", "suppressed"
  elseif options.once and not self:first("message " .. template, now) then
    decision, reason = "skip", "once_per"
  end
  self.messages[cause .. "|" .. template] = {
    cause = cause, template = template, texts = texts, decision = decision, reason = reason, channel = channel,
    provider = options.provider or (channel == "webhook" and "keyed" or "holding"), refused = options.refused,
    number = options.number,
  }
end

local function milliseconds(text)
  return tonumber(text:match "^(%d+)ms$")
end

function model:set_timer(name, due, number, left, cancel_on)
  self.timers[name] = { due = due, number = number, left = left, cancel_on = cancel_on }
end

function model:acted(event)
  local p, now, a = event.payload, event.at, self.attributes
  self.exposure = self.exposure or { at = now }
  self:add("cents", p.cents)
  if self:allow(now) then self:add("paced", 1) end
  if self:first("thing " .. p.thing, now) then self:add("firsts", 1) end
  local function books()
    return { p.number, a.total, a.digest, ask(self.all, now, "count"), ask(self.all, now, "cents"),
      ask_things(self.things, self.all.newest or now, now), ask(self.shelves[p.shelf], now, "count"), a.paced or 0, a.firsts or 0 }
  end
  local texts = (p.told or p.held or p.again or p.once or p.hushed or a.total % 5 == 0) and books()
  if p.told and p.refused then texts[#texts + 1] = "refused" end
  if p.told then self:say(event.id, "told", texts, now, { refused = p.refused }) end
  if p.held then self:say(event.id, "held", texts, now, { channel = "email", refused = p.refused }) end
  if p.again then
    self:say(event.id, "again", texts, now, { channel = "email", provider = "resending", refused = p.refused })
  end
  if p.once then self:say(event.id, "once", texts, now, { once = true }) end
  if p.hushed then self:say(event.id, "hushed", texts, now, { channel = "push", provider = "files" }) end
  if a.total % 5 == 0 then self:say(event.id, "fifth", texts, now, { refused = p.refused }) end
  if p.soon then self:set_timer("soon", now + milliseconds(p.soon), p.number, nil, "calmed") end
  if p.later then self:set_timer("later", now + milliseconds(p.later), p.number) end
  if p.chain then self:set_timer("chain", now + 150, p.number, p.chain) end
  if p.off then self.timers.later = nil end
  if p.fails then self.failures[event.id] = true end
  -- The answer, or the fallback.
  if p.waits then
    self:say(event.id, "waited", { p.number, { -1, p.waits } }, now, { channel = "push", provider = "files" })
  end
end

function model:asked(event)
  local now, a = event.at, self.attributes
  local texts = { event.payload.number, a.total, a.digest, ask(self.all, now, "count"), ask(self.all, now, "cents"),
    ask_things(self.things, self.all.newest or now, now), a.paced or 0, a.firsts or 0, a.fired or 0, a.cents or 0 }
  for shelf = 1, 5 do
    local window = self.shelves["shelf-" .. shelf]
    texts[#texts + 1] = window and ask(window, now, "count") or 0
  end
  self:say(event.id, "filed", texts, now, { channel = "push", provider = "files" })
end

-- ---- what the host took, one after the other ----

function model:event(event)
  local now = event.at
  for name, timer in pairs(self.timers) do
    if timer.due < now then
      self.fault(("event %s, of %.0f, came before the timer %s, due %.0f"):format(event.id, now, name, timer.due))
    end
    if timer.cancel_on == event.type then self.timers[name] = nil end
  end
  if event.type == "message.unsubscribed" then self.suppressed = true end
  local exposure = self.exposure
  if event.type == "asked" and exposure and not exposure.goal_at and now >= exposure.at then
    exposure.goal_at, exposure.value = now, event.payload.number
  end
  if event.type == "identify" then
    for name, value in pairs(event.payload) do self.attributes[name] = value end
  end
  if event.type == "acted" then
    local p = event.payload
    self.shelves[p.shelf] = self.shelves[p.shelf] or { entries = {} }
    observe(self.all, now, p.cents)
    observe(self.shelves[p.shelf], now)
    observe_thing(self.things, p.thing, now)
  end
  self:note(event.number)
  if event.type == "acted" then self:acted(event) end
  if event.type == "asked" then self:asked(event) end
end

function model:timer(name, due)
  local cause = ("timer:books/%s@%.0f"):format(name, due)
  local timer = self.timers[name]
  if self.fired[cause] and not (timer and timer.due == due) then
    self.fault(("%s fired twice"):format(cause))
    return
  end
  if not timer or timer.due ~= due then
    self.fault(("%s fired, and what was set is %s"):format(cause, timer and ("%.0f"):format(timer.due) or "nothing"))
    return
  end
  for other, waits in pairs(self.timers) do
    if waits.due < due then self.fault(("%s fired before %s, due %.0f"):format(cause, other, waits.due)) end
  end
  self.fired[cause] = true
  self.timers[name] = nil
  self:note(timer.number)
  self:add("fired", 1)
  if name == "soon" then
    local a = self.attributes
    self:say(cause, "due", { timer.number, due, a.total, a.digest, a.fired }, due, { number = timer.number })
  elseif name == "chain" and timer.left > 0 then
    self:set_timer("chain", due + 150, timer.number, timer.left - 1)
  end
end

--- @return whether a text is what the rule must have said
function model.says(texts, text)
  local index = 0
  for word in text:gmatch "%S+" do
    index = index + 1
    local wanted = texts[index]
    if type(wanted) == "table" then
      local number = tonumber(word)
      if not number or number < wanted[1] or number > wanted[2] then return false end
    elseif type(wanted) == "number" then
      if tonumber(word) ~= wanted then return false end
    elseif word ~= wanted then
      return false
    end
  end
  return index == #texts
end

return model
