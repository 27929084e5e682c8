--- Segments: who is in, to the millisecond.
--
--     local kairos = require "kairos"
--     local segment = kairos.segment
--
--     local views  = kairos.window { of = "product.viewed", over = "30m" }
--     local orders = kairos.window { of = "order.completed", over = "30d" }
--
--     return segment {
--       name   = "viewed_not_bought",
--       member = function(user) return user:count(views) >= 3 and user:count(orders) == 0 end,
--     }
--
-- `member` answers from the user's windows, attributes, consents and other segments. The host asks it when one of these has
-- changed, and at the very moment at which a window that it has read changes by itself: no polling, and nobody stays a second
-- too long. Who comes and goes is told by events that rules subscribe to, with payload.segment and payload.since:
--
--     return kairos.rule { on = segment.entered "viewed_not_bought", act = function(event, user) … end }

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "name", "name", '"viewed_not_bought"' },
  { "member", "function", "function(user) return … end", required = true },
  { "reads", "names", '{ "vip" }' },
  { "sticky", "duration", '"1d"' },
}

---@class kairos.SegmentSpec
---@field name? kairos.Name  what rules call it; the folder's name unless given
---@field member fun(user: kairos.User): any  whether the user is in it
---@field reads? kairos.Name|kairos.Name[]  the segments that `member` asks for with user:in_segment
---@field sticky? kairos.Duration  who is in stays so long at least, whatever `member` says

---@class kairos.segment
---@overload fun(spec: kairos.SegmentSpec): kairos.Segment
local segment = {}

local function event_type(what, name)
  local why = check.kind("name", name)
  if why then
    core.fail(what .. " takes the name of a segment, which " .. why .. ": " .. what .. ' "viewed_not_bought", not '
      .. check.describe(name))
  end
  return what .. ":" .. name
end

--- The type of the events that tell who has entered the segment: on = segment.entered "vip". Of every segment: "segment.entered".
---@param name kairos.Name
---@return kairos.EventType
function segment.entered(name)
  return event_type("segment.entered", name)
end

--- The type of the events that tell who has left it. Of every segment: "segment.left".
---@param name kairos.Name
---@return kairos.EventType
function segment.left(name)
  return event_type("segment.left", name)
end

--- Who is in it now, for a rule's `for_each`: for_each = segment.members "vip". See kairos/rule.lua.
---@param name kairos.Name
---@return kairos.Audience
function segment.members(name)
  local why = check.kind("name", name)
  if why then
    core.fail('segment.members takes the name of a segment, which ' .. why .. ': segment.members "vip", not '
      .. check.describe(name))
  end
  return core.audience("segment:" .. name)
end

--- Whether a moment has come: `member` may ask this, and is asked again when it does.
---@type fun(moment: number): boolean
segment.reached = core.reached

--- A segment. A rule file ends with `return kairos.segment { … }`, or with a list of rules and segments.
---@param spec kairos.SegmentSpec
---@return kairos.Segment
local function declare(_, spec)
  local fields = check.fields("kairos.segment", spec, schema)
  return core.segment {
    name = fields.name,
    member = fields.member,
    reads = check.list(fields.reads),
    sticky = fields.sticky and core.duration(fields.sticky) or 0,
  }
end

return setmetatable(segment, { __call = declare })
