--- Clients as they should be: they post events over several connections, single, as arrays and as NDJSON, send again
--- whatever was not answered, and also, which a host must bear, what was. All they were told is kept, and held against
--- each other: an event is accepted once.
local cjson = require "cjson"
local socket = require "socket"
local loop = require "loop"

local clients = {}
clients.__index = clients

local CLIENTS, HOT_USERS, BATCH_MOST = 8, 8, 12
-- A user has at most 32 journeys under way: so many of his sleep for long, in a whole run, and others begin so far apart.
local SLEEPERS, TRIPS_APART_MS = 12, 1500

--- @param options  random, port, users = how many, ballast = bytes of a profile, rate = events a second, seconds = how
--   long a client waits for an answer, fault = function(text) to call when the host said what cannot be
function clients.new(options)
  local self = setmetatable({
    options = options, random = options.random, port = options.port, fault = options.fault,
    events = {}, by_id = {}, users = {}, again = {}, acknowledged = {}, known = {},
    soon = {}, later = {}, chain = {}, leaving = {}, sleepers = {}, tripped = {},
    flowing = true, under_way = 0,
    counts = { requests = 0, unanswered = 0, refused = 0, retried = 0, repeated = 0, given_up = 0 },
  }, clients)
  for index = 1, options.users do self.users[index] = "user-" .. index end
  return self
end

--- Start the clients; they go on as long as the loop runs.
function clients:start()
  for _ = 1, CLIENTS do
    loop.spawn(function() self:client() end)
  end
end

--- @return how many events are neither acknowledged nor given up
function clients:outstanding()
  return #self.again + self.under_way
end

-- ---- events ----

--- No timer of a user is due at one moment twice: their messages would have one cause, by which
--- the model knows them.
local function claim(dues, user, first, step, count)
  local taken = dues[user] or {}
  dues[user] = taken
  for index = 0, count - 1 do
    if taken[first + index * step] then return false end
  end
  for index = 0, count - 1 do taken[first + index * step] = true end
  return true
end

local function flags(self, user, at, payload)
  local random = self.random
  if random:chance(30) then payload.told = true end
  if payload.told and random:chance(3) then payload.refused = true end
  if random:chance(12) then payload.held = true end
  if random:chance(10) then payload.again = true end
  -- A refused message gives its reservation back, and when that is nobody can say beforehand.
  if not payload.refused and random:chance(15) then payload.once = true end
  if random:chance(3) then payload.off = true end
  if random:chance(2) then payload.fails = true end
  if random:chance(20) then payload.waits = random:to(40) end
  if random:chance(8) then payload.hushed = true end
  payload.trip = random:chance(6)
  -- Some sleep for longer than the run: they wake when the clock is set forwards.
  local sleepy = payload.trip and random:chance(30)
  if sleepy then
    payload.trip = (self.sleepers[user] or 0) < SLEEPERS
    if payload.trip then self.sleepers[user] = (self.sleepers[user] or 0) + 1 end
  elseif payload.trip then
    payload.trip = at > (self.tripped[user] or 0) + TRIPS_APART_MS
    if payload.trip then self.tripped[user] = at end
  end
  if payload.trip then
    payload.sleeps = sleepy and random:between(5, 120) .. "m" or "200ms"
    payload.listens = sleepy and random:chance(50) and random:between(5, 120) .. "m" or "400ms"
  end
  local soon, later, chain = random:between(100, 900), random:between(1000, 5000), random:to(4)
  if random:chance(25) then later = later * 1000 end
  if random:chance(10) and claim(self.soon, user, at + soon, 0, 1) then payload.soon = soon .. "ms" end
  if random:chance(5) and claim(self.later, user, at + later, 0, 1) then payload.later = later .. "ms" end
  if random:chance(2) and claim(self.chain, user, at + 150, 150, chain + 1) then payload.chain = chain end
end

local function put(self, user, kind, at, payload)
  local number = #self.events + 1
  payload.number = number
  payload.trip = payload.trip and number or nil
  local event = { number = number, id = "e" .. number, user = user, type = kind, at = at, payload = payload,
    sent = 0, accepted = 0 }
  event.json = ('{"event_id":"%s","event_type":"%s","user_id":"%s","timestamp":%.0f,"payload":%s}'):format(
    event.id, kind, user, at, cjson.encode(payload))
  self.events[number] = event
  self.by_id[event.id] = event
  return event
end

--- The prices of a shelf drop: nobody's event, for all who have acted at it.
local function drop(self, at)
  local shelf = "shelf-" .. self.random:to(5)
  local event = put(self, shelf, "dropped", at, { shelf = shelf })
  event.json = event.json:gsub('"user_id"', '"subject"', 1)
  return event
end

--- The profile of a user is made large by its first event, so that the host's memory does not hold them all.
local function identify(self, user, at)
  self.known[user] = true
  local random = self.random
  local bytes = random:between(1, 4000)
  return put(self, user, "identify", at, { ballast = ("x"):rep(self.options.ballast), more = ("y"):rep(bytes) })
end

function clients:event()
  local random = self.random
  local index = random:chance(35) and random:to(HOT_USERS) or random:to(self.options.users)
  local user = self.users[index]
  local at = math.floor(socket.gettime() * 1000)
  if not self.known[user] or random:chance(2) then return identify(self, user, at) end
  -- From a phone that was offline.
  if random:chance(5) then at = at - random:to(3000) end
  local draw = random:to(100)
  if random:chance(0.4) then return drop(self, at) end
  if draw <= 3 then return put(self, user, "asked", at, {}) end
  if draw <= 7 then return put(self, user, "calmed", at, {}) end
  if draw == 8 and index % 5 == 4 then
    return put(self, user, "message.unsubscribed", at, { channel = "webhook" })
  end
  local payload = { cents = random:to(5000), thing = "thing-" .. random:to(40), shelf = "shelf-" .. random:to(5) }
  flags(self, user, at, payload)
  return put(self, user, "acted", at, payload)
end

local function tell(self, user)
  return put(self, user, "acted", math.floor(socket.gettime() * 1000),
    { cents = 1, thing = "thing-1", shelf = "shelf-1", told = true })
end

--- Somebody new is told something, and will say no while it is on its way.
local function arrive(self)
  local user = "leaver-" .. #self.users
  self.users[#self.users + 1] = user
  self.known[user] = true
  self.leaving[#self.leaving + 1] = { user = user, at = socket.gettime() + self.random:between(50, 200) / 1000 }
  return { tell(self, user), tell(self, user), tell(self, user) }
end

--- @return a batch in which somebody says no, and is to be told no more
local function leave(self)
  if #self.leaving == 0 or socket.gettime() < self.leaving[1].at then return nil end
  local user = table.remove(self.leaving, 1).user
  local at = math.floor(socket.gettime() * 1000)
  return { put(self, user, "message.unsubscribed", at, { channel = "webhook" }), tell(self, user) }
end

--- One event for each user that asks for the books, to come after all others.
function clients:ask_all()
  local at = math.floor(socket.gettime() * 1000)
  local asked = {}
  for user in pairs(self.known) do asked[#asked + 1] = user end
  table.sort(asked)
  for _, user in ipairs(asked) do self.again[#self.again + 1] = put(self, user, "asked", at, {}) end
end

-- ---- what goes next ----

local function take_some(self, from, most)
  local batch = {}
  for index = 1, math.min(most, #from) do
    local at = self.random:to(#from)
    batch[index] = from[at]
    from[at] = from[#from]
    from[#from] = nil
  end
  return batch
end

function clients:batch()
  local random = self.random
  local most = random:chance(35) and 1 or random:to(BATCH_MOST)
  local leaving = self.flowing and leave(self)
  if leaving then return leaving end
  if #self.again > 0 and (not self.flowing or random:chance(60)) then
    self.counts.retried = self.counts.retried + 1
    return take_some(self, self.again, self.flowing and most or 50)
  end
  if not self.flowing then return nil end
  if #self.acknowledged > 0 and random:chance(8) then
    self.counts.repeated = self.counts.repeated + 1
    local batch = {}
    -- What is fresh lies in memory, what is old in the store.
    local oldest = random:chance(50) and math.max(1, #self.acknowledged - 300) or 1
    for index = 1, most do batch[index] = self.acknowledged[random:between(oldest, #self.acknowledged)] end
    return batch
  end
  if random:chance(1.5) then return arrive(self) end
  local batch = {}
  for index = 1, most do batch[index] = self:event() end
  if random:chance(3) then batch[#batch + 1] = batch[1] end
  if random:chance(3) then -- somebody else posts the same at the same time
    for _, event in ipairs(batch) do self.again[#self.again + 1] = event end
  end
  return batch
end

-- ---- a request ----

local function body_of(batch, random)
  local lines = {}
  for index, event in ipairs(batch) do lines[index] = event.json end
  if #batch == 1 and random:chance(80) then return lines[1], "application/json" end
  if random:chance(50) then return table.concat(lines, "\n"), "application/x-ndjson" end
  return "[" .. table.concat(lines, ",") .. "]", "application/json"
end

local function exchange(self, link, batch)
  local body, content_type = body_of(batch, self.random)
  local deadline = socket.gettime() + self.options.seconds
  local sent, problem = loop.send(link, ("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
    .. "Content-Length: %d\r\n\r\n%s"):format(content_type, #body, body), deadline)
  if not sent then return nil, problem end
  local answer
  answer, problem = loop.receive(link, deadline, loop.message)
  if answer then answer.status = tonumber(answer.head:match "^HTTP/1%.1 (%d+)") end
  return answer, problem
end

--- Hold an answer against what was known before the batch went out.
local function judge(self, batch, before, answer)
  local failed = {}
  for _, item in ipairs(answer.rejected) do
    local event = batch[item.index + 1]
    failed[item.index + 1] = true
    if not item.retry then
      self.fault(("event %s was rejected: %s"):format(event.id, tostring(item.error)))
    end
  end
  if answer.accepted + answer.duplicates + #answer.rejected ~= #batch then
    self.fault(("an answer speaks of %d items of %d: %s"):format(
      answer.accepted + answer.duplicates + #answer.rejected, #batch, cjson.encode(answer)))
  end
  local can, different = 0, {}
  for index, event in ipairs(batch) do
    if not failed[index] and not before[index].acknowledged and not different[event] then can = can + 1 end
    different[event] = true
  end
  if answer.accepted > can then
    self.fault(("%d of %d items were accepted, and at most %d were new, %s among them"):format(
      answer.accepted, #batch, can, batch[1].id))
  end
  local fresh = #answer.rejected == 0
  for index, event in ipairs(batch) do fresh = fresh and before[index].sent == 0 and event.sent == 1 end
  if fresh and answer.accepted < #batch then
    self.fault(("%d of %d items were accepted that nobody had sent before, %s among them"):format(
      answer.accepted, #batch, batch[1].id))
  end
  -- Of one event alone the verdict is known for sure.
  if #batch == 1 and answer.accepted == 1 then
    batch[1].accepted = batch[1].accepted + 1
    if batch[1].accepted > 1 then self.fault(("event %s was accepted twice"):format(batch[1].id)) end
  end
  for index, event in ipairs(batch) do
    if failed[index] then
      if not event.acknowledged then self.again[#self.again + 1] = event end
    elseif not event.acknowledged then
      event.acknowledged = true
      event.acknowledged_at = math.ceil(socket.gettime() * 1000)
      self.acknowledged[#self.acknowledged + 1] = event
    end
  end
end

--- Send the batch. @return whether the connection can go on
local function post(self, link, batch)
  local before = {}
  for index, event in ipairs(batch) do before[index] = { acknowledged = event.acknowledged, sent = event.sent } end
  local now = math.floor(socket.gettime() * 1000)
  for _, event in ipairs(batch) do
    event.sent = event.sent + 1
    event.first_at = event.first_at or now
    if not event.acknowledged then event.sent_at = now end
  end
  self.counts.requests = self.counts.requests + 1
  local answer, problem = exchange(self, link, batch)
  if not answer then
    self.counts.unanswered = self.counts.unanswered + 1
    if problem == "timeout" then self.fault(("no answer within %d s"):format(self.options.seconds)) end
    local gives_up = self.flowing and self.random:chance(5)
    for _, event in ipairs(batch) do
      if gives_up and not event.acknowledged then
        event.given_up = true
        self.counts.given_up = self.counts.given_up + 1
      elseif not event.acknowledged then
        self.again[#self.again + 1] = event
      end
    end
    return false
  end
  local ok, json = pcall(cjson.decode, answer.body)
  if ok and type(json) == "table" and json.accepted then
    judge(self, batch, before, json)
  elseif answer.status == 503 or answer.status == 429 then
    self.counts.refused = self.counts.refused + 1
    for _, event in ipairs(batch) do
      if not event.acknowledged then self.again[#self.again + 1] = event end
    end
    loop.sleep(0.02)
  else
    self.fault(("answered %s: %s"):format(tostring(answer.status), answer.body))
  end
  return not answer.head:lower():find("connection: close", 1, true)
end

local function connect(self)
  local link = socket.tcp()
  link:settimeout(1)
  if not link:connect("127.0.0.1", self.port) then
    link:close()
    return nil
  end
  link:setoption("tcp-nodelay", true)
  link:settimeout(0)
  return link
end

function clients:client()
  local link
  -- So that all clients together come to the rate.
  local pause = CLIENTS * BATCH_MOST / 3 / self.options.rate
  while true do
    link = link or connect(self)
    local batch = link and self:batch()
    if batch and #batch > 0 then
      self.under_way = self.under_way + #batch
      if not post(self, link, batch) then
        link:close()
        link = nil
      end
      self.under_way = self.under_way - #batch
    end
    loop.sleep(self.flowing and pause * self.random:to(200) / 100 or 0.01)
  end
end

return clients
