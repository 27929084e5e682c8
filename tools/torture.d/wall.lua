--- The host's wall clock, which is set forwards and back while it runs and while it does not, by seconds or by hours; and what
--- became of it, so that times that the host tells can be told from times out here. Its monotonic clock is the machine's.
-- All times are in ms since the epoch: "true" ones by the machine's clock, "host's" ones by the one that is set.
local socket = require "socket"
local Clock = require "spec.functional.support.clock"
local loop = require "loop"

local wall = {}
wall.__index = wall

local MINUTE_MS, HOUR_MS = 60000, 3600000
local QUIET_FROM_MS, QUIET_FOR_MS = 40 * MINUTE_MS, 2 * HOUR_MS -- from the beginning on: set forwards, the clock comes there
local FURTHEST_MS = 6 * HOUR_MS
local SLACK_MS = 2 -- of two readings that are compared

local function now_ms()
  return math.floor(socket.gettime() * 1000)
end

--- @param options  directory, random
function wall.new(options)
  local self = setmetatable({ clock = Clock.new(options.directory), random = options.random, flowing = true, began = now_ms(),
    forwards = 0, backwards = 0 }, wall)
  self.epochs = { { from = -math.huge, till = math.huge, offset = 0 } }
  return self
end

--- For the host's environment.
function wall:env()
  return self.clock:env()
end

--- How far it stands from the machine's clock.
function wall:offset()
  return self.clock.ms
end

--- Hours of the day (UTC) at which nobody is to be disturbed, as the configuration takes them.
function wall:quiet_hours()
  local from = math.floor((self.began + QUIET_FROM_MS) / MINUTE_MS) * MINUTE_MS
  local function minute(ms) return os.date("!%H:%M", ms / 1000) end
  return minute(from) .. "-" .. minute(from + QUIET_FOR_MS)
end

--- Whether this moment of the host's lies in them, and not at their edge.
function wall:is_quiet(host_ms)
  local from = math.floor((self.began + QUIET_FROM_MS) / MINUTE_MS) * MINUTE_MS
  return (host_ms - from) % (24 * HOUR_MS) < QUIET_FOR_MS
end

--- It stands so far from the machine's clock from now on.
function wall:set(offset)
  if offset > self.clock.ms then
    self.forwards = self.forwards + 1
  elseif offset < self.clock.ms then
    self.backwards = self.backwards + 1
  end
  local before = now_ms()
  self.clock:set(offset)
  self.epochs[#self.epochs].till = now_ms()
  self.epochs[#self.epochs + 1] = { from = before, till = math.huge, offset = offset }
end

local function draw(random)
  local number = random:to(100)
  if number <= 35 then return 0 end
  if number <= 45 then return random:between(-5000, 5000) end
  if number <= 60 then return random:between(QUIET_FROM_MS, QUIET_FROM_MS + QUIET_FOR_MS) end
  if number <= 80 then return random:between(MINUTE_MS, FURTHEST_MS) end
  return -random:between(MINUTE_MS, FURTHEST_MS)
end

--- Somebody sets it, now and again.
function wall:step()
  self:set(draw(self.random))
end

function wall:start()
  loop.spawn(function()
    while true do
      loop.sleep(self.random:between(300, 5000) / 1000)
      if self.flowing then self:step() end
    end
  end)
end

-- ---- what the host's times mean ----

--- @return the first and the last true time at which the host's clock showed this, nil if it never did
function wall:shown(host_ms)
  local first, last
  for _, epoch in ipairs(self.epochs) do
    local at = host_ms - epoch.offset
    if at >= epoch.from - SLACK_MS and at <= epoch.till + SLACK_MS then
      first, last = first or at, at
    end
  end
  return first, last
end

--- The first true time at which it may have shown this; `host_ms` of no time that it showed is as early as can be.
function wall:earliest(host_ms)
  return (self:shown(host_ms)) or -math.huge
end

--- The last, in the same way.
function wall:latest(host_ms)
  local _, last = self:shown(host_ms)
  return last or math.huge
end

--- Whether it was set between two true times.
function wall:was_set(from, till)
  for index = 2, #self.epochs do
    local at = self.epochs[index].from
    if at >= from - SLACK_MS and at <= till + SLACK_MS then return true end
  end
  return false
end

--- The true times since when it has shown `host_ms` or later, one for each time that it came so far after `since`.
function wall:passes(host_ms, since)
  local list = {}
  for _, epoch in ipairs(self.epochs) do
    local at = math.max(epoch.from, host_ms - epoch.offset, since)
    if at < epoch.till then list[#list + 1] = at end
  end
  return list
end

return wall
