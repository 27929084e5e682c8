--- Fan-outs of rules/drops: each that began came to its end, and reached everybody once who had acted at its shelf before,
--- and nobody who never had. One that the operator stopped reached each of them once or not at all; and whoever was told that
--- one is paused or stopped saw it reach nobody from then on.
local drops = {}
drops.__index = drops

local HALTS_MS = 5000 -- what had been handed over before may take so long

--- @param options  fault = function(kind, format, …), orders = the operator's to fan-outs, wall, patience
function drops.new(options)
  return setmetatable({ fault = options.fault, orders = options.orders, wall = options.wall, patience = options.patience,
    replayed_by = {}, told_by = {}, reached_at = {}, count = 0, reached = 0, paused = 0, stopped = 0 }, drops)
end

local function note(map, cause, user)
  map[cause] = map[cause] or {}
  map[cause][user] = (map[cause][user] or 0) + 1
  return map[cause][user]
end

--- The replay of a user came by one that reached him.
function drops:replayed(user, row)
  if row.decision ~= "send" then
    self.fault("fan-outs", "%s: %s came to %s: %s", user, row.cause, row.decision, row.reason or "")
  end
  if note(self.replayed_by, row.cause, user) > 1 then self.fault("fan-outs", "%s was reached twice by %s", user, row.cause) end
end

--- A decision of the campaign, with the text of its message where it went out.
function drops:told(user, decision, text, event)
  if decision.decision ~= "send" then
    self.fault("fan-outs", "%s: %s: %s %s", user, decision.cause or "?", decision.decision, decision.reason or decision.error or "")
    return
  end
  if not event or text ~= event.number .. " " .. event.payload.shelf then
    self.fault("fan-outs", "%s: message %s of %s says %q", user, decision.message_id, decision.cause, tostring(text))
  end
  if note(self.told_by, decision.cause, user) > 1 then self.fault("fan-outs", "%s was told twice by %s", user, decision.cause) end
  local reached_at = self.reached_at[decision.cause] or {}
  self.reached_at[decision.cause] = reached_at
  reached_at[#reached_at + 1] = decision.accepted
end

--- From an answer that it is halted until somebody asks that it goes on, it reached nobody. @return whether it must, and whether
--- it may have been stopped
function drops:obeys(cause, orders)
  local must, may, paused = false, false, false
  for index, order in ipairs(orders) do
    if order.what == "stop" then
      may, must = true, must or order.done
    elseif order.what == "pause" then
      paused = true
    end
    local from, till = order.done and order.what ~= "resume" and order.answered + HALTS_MS * self.patience, math.huge
    for later = index + 1, #orders do
      if orders[later].what == "resume" and order.what == "pause" then till = math.min(till, orders[later].asked) end
    end
    for _, at in ipairs(from and self.reached_at[cause] or {}) do
      if self.wall:earliest(at) > from and self.wall:latest(at) < till then
        self.fault("fan-outs", "that of %s reached somebody at %.0f, %.0f ms after the answer that it was to %s", cause, at,
          self.wall:earliest(at) - order.answered, order.what)
      end
    end
  end
  if paused then self.paused = self.paused + 1 end
  return must, may
end

--- When somebody had acted at a shelf for sure: shelf -> user -> when the first such event was acknowledged (math.huge: it
--- was taken, and nobody was told).
local function shoppers(events, taken)
  local shelves = {}
  for _, event in ipairs(events) do
    if event.type == "acted" and taken[event.id] then
      local shelf = shelves[event.payload.shelf] or {}
      shelves[event.payload.shelf] = shelf
      shelf[event.user] = math.min(shelf[event.user] or math.huge, event.acknowledged_at or math.huge)
    end
  end
  return shelves
end

--- @param events  all that were posted @param taken  ids of those that took effect @param list  what the host says of fan-outs
function drops:account(events, by_id, taken, list)
  local shelves, known = shoppers(events, taken), {}
  for _, fan_out in ipairs(list) do
    local cause, event = fan_out.event_id, by_id[fan_out.event_id]
    self.count = self.count + 1
    if known[cause] then self.fault("fan-outs", "%s began two", cause) end
    known[cause] = true
    local must, may = self:obeys(cause, self.orders[fan_out.id] or {})
    local stopped = fan_out.state == "stopped" and may
    if not stopped and (fan_out.state ~= "done" or must) then
      self.fault("fan-outs", "that of %s is %s: %s%s", cause, fan_out.state, fan_out.reason, must and ", and was stopped" or "")
    end
    if stopped then self.stopped = self.stopped + 1 end
    local told, replayed, count = self.told_by[cause] or {}, self.replayed_by[cause] or {}, 0
    local shelf = shelves[event.payload.shelf] or {}
    for user, since in pairs(shelf) do
      if since < event.first_at and not told[user] and not stopped then
        self.fault("fan-outs", "%s, who had acted at %s, is not reached by %s", user, event.payload.shelf, cause)
      end
    end
    for user in pairs(told) do
      count = count + 1
      if not shelf[user] then
        self.fault("fan-outs", "%s never acted at %s, and is reached by %s", user, event.payload.shelf, cause)
      end
      if not replayed[user] then self.fault("fan-outs", "%s is reached by %s, and a replay does not say so", user, cause) end
    end
    if count ~= fan_out.reached then
      self.fault("fan-outs", "that of %s says it reached %d users, and %d know of it", cause, fan_out.reached, count)
    end
    self.reached = self.reached + count
  end
  for cause, users in pairs(self.told_by) do
    if not known[cause] then self.fault("fan-outs", "%s reached %s, and began none", cause, next(users)) end
  end
end

return drops
