--- The operator: by the control socket he suppresses users and lets them go again, sends held messages once more, pauses,
--- resumes and stops fan-outs, and pauses providers and resumes them.
--- What he was told stands, whatever happens to the host.
local cjson = require "cjson"
local socket = require "socket"
local unix = require "socket.unix"
local loop = require "loop"

local operator = {}
operator.__index = operator

local USERS = 30
local PROVIDERS = { "keyed", "holding", "resending", "files" }
local PAUSED_MS = 5000 -- at most, if there is a host to ask

--- @param options  path of the socket, random, users
function operator.new(options)
  return setmetatable({
    path = options.path, random = options.random, users = options.users, flowing = true,
    busy = 0, -- conversations under way
    suppressions = {}, -- of each user, in order: {on, done}
    resent = {}, -- message id -> {done = how often, perhaps = how often that is not known}
    fan_outs = {}, -- id -> in order: {what = "pause", "resume" or "stop", done, asked, answered = ms}
    providers = {}, -- name -> in order: {what = "pause" or "resume", done, asked, answered = ms, ends = when it is to}
    count = 0, unanswered = 0,
  }, operator)
end

local function whole_line(text)
  return text:match "^(.-)\n"
end

--- For conversations. @return the answer, false if it is not known, nil if nobody was asked
local function ask(path, request)
  local link = unix.stream()
  link:settimeout(1)
  if not link:connect(path) then
    link:close()
    return nil
  end
  link:settimeout(0)
  local deadline = socket.gettime() + 60
  local line
  if loop.send(link, cjson.encode(request) .. "\n", deadline) then line = loop.receive(link, deadline, whole_line) end
  link:close()
  return line and cjson.decode(line) or false
end

--- The same outside of conversations; raises unless the host did it.
function operator.ask(path, request)
  local link = assert(unix.stream())
  link:settimeout(120)
  assert(link:connect(path))
  assert(link:send(cjson.encode(request) .. "\n"))
  local line = assert(link:receive "*l")
  link:close()
  local answer = cjson.decode(line)
  if not answer.ok then error(request.command .. ": " .. tostring(answer.error), 0) end
  return answer.result
end

local function suppress(self)
  local user = self.users[self.random:to(math.min(USERS, #self.users))]
  local on = self.random:chance(50)
  local answer = ask(self.path, { command = on and "suppress" or "unsuppress", user = user, channel = "sms" })
  if answer == nil then return end
  local done = answer and answer.ok or false
  local list = self.suppressions[user] or {}
  self.suppressions[user] = list
  list[#list + 1] = { on = on, done = done }
  self.count = self.count + 1
  if not done then self.unanswered = self.unanswered + 1 end
end

local function resend(self)
  local letters = ask(self.path, { command = "dead_list", text = "message" })
  if not letters or not letters.ok then return end
  local held = {}
  for _, letter in ipairs(letters.result) do
    if letter.outcome == "held" then held[#held + 1] = letter.id end
  end
  if #held == 0 then return end
  local id = self.random:any(held)
  local answer = ask(self.path, { command = "dead_retry", id = id })
  if answer == nil or answer and not answer.ok and answer.code == "not_found" then return end
  local known = self.resent[id] or { done = 0, perhaps = 0 }
  self.resent[id] = known
  self.count = self.count + 1
  if answer and answer.ok then
    known.done = known.done + 1
  else
    known.perhaps = known.perhaps + 1
    self.unanswered = self.unanswered + 1
  end
end

local function now_ms()
  return math.floor(socket.gettime() * 1000)
end

--- Note an order to a fan-out or provider, in the order of the answers.
--- @param orders  self.fan_outs or self.providers
--- @param ends  of a provider's pause: when it is to end
local function note_order(self, orders, id, what, answer, asked, ends)
  local list = orders[id] or {}
  orders[id] = list
  local done = answer and answer.ok or false
  list[#list + 1] = { what = what, done = done, asked = asked, answered = now_ms(), ends = ends }
  self.count = self.count + 1
  if not done then self.unanswered = self.unanswered + 1 end
end

local function change_fan_out(self)
  local answer = ask(self.path, { command = "fanouts" })
  if not answer or not answer.ok then return end
  local open = {}
  for _, fan_out in ipairs(answer.result) do
    if fan_out.state == "runs" or fan_out.state == "waits" or fan_out.state == "paused" then open[#open + 1] = fan_out end
  end
  if #open == 0 then return end
  local one = self.random:any(open)
  local what = self.random:chance(4) and "stop" or one.state == "paused" and "resume" or "pause"
  local asked = now_ms()
  local changed = ask(self.path, { command = "fanout_" .. what, id = one.id, text = "as the operator likes" })
  if changed ~= nil then note_order(self, self.fan_outs, one.id, what, changed, asked) end
end

local function order_provider(self, name, what, ends)
  local asked = now_ms()
  local answer = ask(self.path, { command = what, channel = name })
  if answer ~= nil then note_order(self, self.providers, name, what, answer, asked, ends) end
end

local function change_provider(self)
  local name = self.random:any(PROVIDERS)
  local list = self.providers[name] or {}
  local last = list[#list]
  if last and (last.what == "pause" or not last.done) then
    if now_ms() > (last.ends or 0) then order_provider(self, name, "resume") end
  elseif self.random:chance(40) then
    order_provider(self, name, "pause", now_ms() + self.random:to(PAUSED_MS))
  end
end

--- Outside of conversations: what is paused goes on.
function operator:resume_all()
  local function resume(orders, id, request)
    local asked = now_ms()
    operator.ask(self.path, request)
    note_order(self, orders, id, "resume", { ok = true }, asked)
  end
  for _, name in ipairs(PROVIDERS) do resume(self.providers, name, { command = "resume", channel = name }) end
  for _, fan_out in ipairs(operator.ask(self.path, { command = "fanouts" })) do
    if fan_out.state == "paused" then
      resume(self.fan_outs, fan_out.id, { command = "fanout_resume", id = fan_out.id })
    end
  end
end

--- Every now and then, in a conversation of its own.
local function again_and_again(self, from, to, act)
  loop.spawn(function()
    while true do
      loop.sleep(self.random:between(from, to) / 1000)
      if self.flowing then
        self.busy = self.busy + 1
        act()
        self.busy = self.busy - 1
      end
    end
  end)
end

function operator:start()
  again_and_again(self, 50, 400, function()
    if self.random:chance(70) then suppress(self) else resend(self) end
  end)
  again_and_again(self, 50, 300, function() change_fan_out(self) end)
  again_and_again(self, 50, 500, function() change_provider(self) end)
end

return operator
