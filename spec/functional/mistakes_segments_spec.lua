-- What a beginner gets wrong with segments and derived events, and what kairos check answers (mistakes_spec.lua
-- has the rest).
local mistakes = require "spec.functional.support.mistakes"

--- A segment whose `member` is this; its first line is line 6, and `top` is line 2.
local function member(body, top)
  return ([[
local kairos = require "kairos"
%s
return kairos.segment {
  name = "suspect",
  member = function(user)
%s
  end,
}
]]):format(top or "", body)
end

--- A rule for what this says, in line 3.
local function on(what, top)
  return ([[
local kairos = require "kairos"
%s
return kairos.rule { on = %s, act = function(_, user) user:set("seen", true) end }
]]):format(top or "", what)
end

local OTHER = { ["../other/rule.lua"] = [[
local kairos = require "kairos"
return kairos.segment { name = "regulars", member = function(user) return user.orders == 3 end }
]] }

local of_segments = {
  { "member answers nothing", member([[
    local _ = user:count(orders) >= 3]], 'local orders = kairos.window { of = "order.completed", over = "90d" }'),
    "5:12: error: `member` answers nothing, so nobody is ever in the segment; write return in front of its condition" },
  { "member is given an event", [[
local kairos = require "kairos"
return kairos.segment { name = "large", member = function(event) return event.total == 3 end }
]],
    "2:59: error: `member` is given the user: it is asked when what it reads changes, not about one event; write function(user)" },
  { "a segment that sends", member [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "1/7d" }
    return true]],
    '6:5: error: `member` only answers who is in the segment; write it in a rule with on = kairos.segment.entered "…"' },
  { "the clock in a segment", member [[
    return kairos.now() - user.registered > 86400000]],
    "6:12: error: a segment is asked when what it reads changes, not as time passes; write kairos.segment.reached(moment), or "
      .. "ask a window: the host asks again when these change" },
  { "dice in a segment", member [[
    return math.random() < 0.5]],
    "6:12: error: who is in a segment is no matter of chance: each event would let users come and go; write "
      .. 'kairos.sample.share(user, "a name for it", "25%")' },
  { "when instead of member", [[
local kairos = require "kairos"
return kairos.segment { name = "suspect", when = function(user) return user.vip end }
]],
    "2:23: error: kairos.segment needs `member`; write member = function(user) … end",
    "2:43: error: kairos.segment has no field `when`; write member = function(user) return … end" },
  { "a segment that is not there", on 'kairos.segment.entered "regular"',
    '3:50: error: there is no segment `regular`; write "regulars"', files = OTHER },
  { "in_segment of a segment that is not there", [[
local kairos = require "kairos"
local NAME = "reguars"
return kairos.rule { on = "order.completed", when = function(_, user) return user:in_segment "regular" end,
  act = function(_, user) user:set("seen", user:in_segment(NAME)) end }
]],
    '3:94: error: there is no segment `regular`; write "regulars"',
    '4:60: error: there is no segment `reguars`; write "regulars"', files = OTHER },
  { "in_segment where no segment is", [[
local kairos = require "kairos"
return kairos.rule { on = "order.completed", when = function(_, user) return user:in_segment "vip" end,
  act = function(_, user) user:set("seen", true) end }
]],
    '2:94: error: there is no segment `vip`; declare it in a rule.lua: return kairos.segment { name = "vip", … }' },
  { "a segment that is not there, asked for in a module", [[
local kairos = require "kairos"
local regular = require "regular"
return kairos.rule { on = "order.completed", when = function(_, user) return regular(user) end,
  act = function(_, user) user:set("seen", true) end }
]],
    'regular.lua:2:58: error: there is no segment `reglars`; write "regulars"',
    files = { ["../other/rule.lua"] = OTHER["../other/rule.lua"], ["regular.lua"] = [[
---@param user kairos.User
return function(user) return user.vip or user:in_segment "reglars" end
]] } },
  { "a journey begins and ends with segments that are not there", [[
local kairos = require "kairos"
local segment = kairos.segment
return kairos.journey {
  start = { on = segment.entered "regulers" },
  exit  = { on = segment.left "regular" },
  goal  = { on = { segment.entered "rgulars" }, within = "3d" },
  run   = function(journey, user)
    journey:wait_for { on = segment.left "reguars", within = "3d" }
    journey:set("seen", user:in_segment "regularss")
  end,
}
]],
    '4:34: error: there is no segment `regulers`; write "regulars"',
    '5:31: error: there is no segment `regular`; write "regulars"',
    '6:36: error: there is no segment `rgulars`; write "regulars"',
    '8:42: error: there is no segment `reguars`; write "regulars"',
    '9:41: error: there is no segment `regularss`; write "regulars"', files = OTHER },
  { "a segment's event written out, of one that is not there", on '{ "segment.entered:regular", "segment.left:regulars" }',
    '3:29: error: there is no segment `regular`; write "regulars"', files = OTHER },
  { "a segment's event by another word", on '{ "segment.entred", "segment.leave:regulars" }',
    '3:29: error: there are no events `segment.entred`: the host tells who entered a segment and who left it; write '
      .. 'kairos.segment.entered "its name"',
    '3:47: error: there are no events `segment.leave:regulars`: the host tells who entered a segment and who left it; write '
      .. 'kairos.segment.left "regulars"', files = OTHER },
  { "members of a segment that is not there", [[
local kairos = require "kairos"
return kairos.rule { on = "sale.began", for_each = kairos.segment.members "regular",
  act = function(_, user) user:set("seen", true) end }
]],
    '2:75: error: there is no segment `regular`; write "regulars"', files = OTHER },
  { "a segment's name for its members", [[
local kairos = require "kairos"
return kairos.rule { on = "sale.began", for_each = "regulars", act = function(_, user) user:set("seen", true) end }
]],
    "2:52: error: `for_each` of kairos.rule must be a function or what an interest's :of(…) or kairos.segment.members answers, "
      .. 'not "regulars"; write for_each = kairos.segment.members "regulars"', files = OTHER },
  { "a number answers", member([[
    return user:count(orders)]], 'local orders = kairos.window { of = "order.completed", over = "90d" }'),
    "6:12: warning: a number is true, even 0; write > 0 behind it" },
  { "a segment that reads another", member [[
    return user:in_segment "regulars" and user.vip == true]],
    "6:28: error: `member` asks for `regulars`, and `reads` does not name it; write reads = { \"regulars\" } beside member",
    files = OTHER },
  { "reads misspelt", [[
local kairos = require "kairos"
return kairos.segment { name = "suspect", reads = "reguars", member = function(user) return user:in_segment "regulars" end }
]],
    '2:51: error: there is no segment `reguars`; write "regulars"',
    '2:109: error: `member` asks for `regulars`, and `reads` does not name it; write reads = { "regulars" } beside member',
    files = OTHER },
  { "a throttle used up by looking", member([[
    return user:once("seen", "7d")]]),
    '6:12: error: `member` only answers who is in the segment; write it in a rule with on = kairos.segment.entered "…"' },
  { "an attribute set in a segment", member [[
    user:set("vip", true)
    return true]],
    '6:5: error: `member` only answers who is in the segment; write it in a rule with on = kairos.segment.entered "…"' },
  { "sticky as a number", [[
local kairos = require "kairos"
return kairos.segment { name = "suspect", sticky = 7, member = function(user) return user.vip == true end }
]],
    '2:52: error: `sticky` of kairos.segment must be a duration in quotes, not 7; write sticky = "10m"' },
  { "the host's own event", [[
local kairos = require "kairos"
return kairos.rule { on = "order.completed", act = function(_, user)
  user:emit { type = "segment.entered", payload = { segment = "vip" } }
end }
]],
    '3:22: error: types that begin with segment. are the host\'s own; write "entered"' },
  { "an event derived by another name", [[
local kairos = require "kairos"
return { kairos.rule { name = "tells", on = "order.completed", act = function(_, user)
  user:emit { type = "customer.regular" }
end }, kairos.rule { name = "listens", on = "customer.reguler", act = function(_, user) user:set("seen", true) end } }
]],
    '4:45: warning: "customer.reguler" is nearly the "customer.regular" of rule.lua:3; write "customer.regular" if it is '
      .. "the same" },
  { "a segment by a name without quotes", on "kairos.segment.entered(regulars)",
    '3:50: error: there is nothing named `regulars` here; write "regulars": a segment is named in quotes', files = OTHER },
  { "on a segment", [[
local kairos = require "kairos"
local vips = kairos.segment { name = "vips", member = function(user) return user.vip == true end }
return { vips, kairos.rule { name = "greets", on = vips, act = function(_, user) user:set("seen", true) end } }
]],
    "3:52: error: `on` of kairos.rule must be an event type in quotes or a list, not the segment; write on = "
      .. 'kairos.segment.entered "its name"' },
  { "a segment that is not returned", [[
local kairos = require "kairos"
local vips = kairos.segment { name = "vips", member = function(user) return user.vip == true end }
return kairos.rule { on = "order.completed", act = function(_, user) user:set("seen", true) end }
]],
    "2:7: error: the segment `vips` is not given to the host; write return { vips, … } at the end of the file" },
  { "in_segment of a segment", [[
local kairos = require "kairos"
local vips = kairos.segment { name = "vips", member = function(user) return user.vip == true end }
return { vips, kairos.rule { name = "greets", on = "order.completed", when = function(_, user) return user:in_segment(vips) end,
  act = function(_, user) user:set("seen", true) end } }
]],
    "3:119: error: user:in_segment takes the segment's name, not the segment; write user:in_segment \"its name\"" },
  { "the payload in a segment", member [[
    return user.payload.total > 100]],
    "6:17: warning: a user has no `payload`; write a window of the events that are meant, and ask user:count(window)" },
  { "a day in quotes", member [[
    return kairos.segment.reached("2026-12-01")]],
    '6:35: error: kairos.segment.reached takes a moment in milliseconds, not text; write kairos.date.parse("2026-12-01"), or an '
      .. "attribute that holds one" },
  { "a rule that hears what it emits", [[
local kairos = require "kairos"
return kairos.rule { on = "order.completed", act = function(_, user) user:emit { type = "order.completed" } end }
]],
    "2:89: warning: this rule is given what it emits, and emits it again: 32 times at most, then it fails; emit another type, or "
      .. "ask in when whether it has done so" },
}

describe("a beginner's mistake with a segment", function()
  for _, mistake in ipairs(of_segments) do
    it("is answered: " .. mistake[1], function() mistakes.expect(mistake) end)
  end
end)
