--- Journeys of rules/travelling: each that began has told of each of its stages once, in their order, and changed its source
--- only for one that takes over.
local travels = {}
travels.__index = travels

local STAGES = { leaves = 1, travels = 2, arrives = 3, turns = 3 }

--- @param options  fault = function(kind, format, …), wall
function travels.new(options)
  return setmetatable({ fault = options.fault, wall = options.wall, trips = {}, begun = 0, asleep = 0, moved = 0, turned = 0,
    messages = {}, runs = {} }, travels)
end

--- A replay came by a step that sends; each of them sends one message.
function travels:replayed(user)
  self.runs[user] = (self.runs[user] or 0) + 1
end

--- A decision of the campaign, with the text of its message where it went out.
function travels:told(user, decision, text)
  if decision.decision ~= "send" then
    self.fault("journeys", "%s: %s of %s: %s %s", user, decision.template or "?", decision.cause or "?", decision.decision,
      decision.reason or decision.error or "")
    return
  end
  local trip, stage, source = (text or ""):match "^(%d+) (%a+) (%S+)$"
  if not trip or not STAGES[stage] then
    self.fault("journeys", "%s: message %s says %q", user, decision.message_id, tostring(text))
    return
  end
  local stages = self.trips[tonumber(trip)] or { user = user }
  self.trips[tonumber(trip)] = stages
  if stages.user ~= user then self.fault("journeys", "trip %s of %s tells %s", trip, stages.user, user) end
  local number = STAGES[stage]
  if stages[number] then
    self.fault("journeys", "%s: trip %s %s twice: %s and %s", user, trip, stage, stages[number].id, decision.message_id)
  end
  self.messages[user] = (self.messages[user] or 0) + 1
  stages[number] = { at = decision.accepted, source = source, id = decision.message_id }
  if stage == "turns" then self.turned = self.turned + 1 end
end

--- @param wanted  the events that begin one and were taken: by number
function travels:account(wanted)
  for number, event in pairs(wanted) do
    self.begun = self.begun + 1
    if event.payload.sleeps:find "m$" and not event.payload.sleeps:find "ms$" then self.asleep = self.asleep + 1 end
    local stages = self.trips[number] or {}
    for stage, name in ipairs { "leaves", "travels", "arrives" } do
      if not stages[stage] then self.fault("journeys", "%s: trip %d never %s", event.user, number, name) end
    end
    for stage = 2, 3 do
      local before, now = stages[stage - 1], stages[stage]
      if before and now and self.wall:latest(now.at) < self.wall:earliest(before.at) then
        self.fault("journeys", "%s: stage %d of trip %d came before the one before it", event.user, stage, number)
      end
      if before and now and now.source ~= before.source then
        self.moved = self.moved + 1
        if now.source:find "^pin" then
          self.fault("journeys", "%s: trip %d began stage %d on %s, and %s takes nothing over", event.user, number, stage,
            before.source, now.source)
        end
      end
    end
  end
  for user, count in pairs(self.messages) do
    if self.runs[user] ~= count then
      self.fault("journeys", "%s: %d messages on the way, and a replay comes by %d", user, count, self.runs[user] or 0)
    end
  end
  for number, stages in pairs(self.trips) do
    if not wanted[number] then self.fault("journeys", "%s: trip %d was never begun", stages.user, number) end
  end
end

return travels
