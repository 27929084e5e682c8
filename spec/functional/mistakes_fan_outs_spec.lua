-- What a beginner gets wrong with fan-outs, and what kairos check answers (mistakes_spec.lua has the rest).
local mistakes = require "spec.functional.support.mistakes"

--- A fan-out with this `for_each`, in line 5, and this in its `act`, in line 7.
local function fan_out(for_each, act, interest)
  return ([[
local kairos = require "kairos"
local watchers = kairos.interest { %s }
return kairos.rule {
  on = "price.dropped",
  for_each = %s,
  act = function(event, user)
    %s
  end,
}
]]):format(interest or [[name = "watchers", of = "product.viewed", by = "payload.sku", over = "30d"]],
    for_each or "function(event) return watchers:of(event.payload.sku) end", act or 'user:set("told", event.payload.sku)')
end

local of_fan_outs = {
  { "nothing", fan_out() },
  { "for_each answers nothing", fan_out "function(event) local _ = watchers:of(event.payload.sku) end",
    "5:14: error: `for_each` answers nothing, so it reaches nobody; write return in front of its condition" },
  { "an interest as the audience", fan_out "watchers",
    "5:14: error: `for_each` of kairos.rule must be a function or what an interest's :of(…) or kairos.segment.members answers, "
      .. "not the interest; write for_each = function(event) return watchers:of(event.payload.sku) end" },
  { "the interest as the answer", fan_out "function() return watchers end",
    "5:32: error: `for_each` answers whom it reaches, not the interest; write watchers:of(event.payload.sku)" },
  { "an interest without a key as the answer", fan_out("function() return watchers end", nil,
    [[name = "watchers", of = "product.viewed", over = "30d"]]),
    "5:32: error: `for_each` answers whom it reaches, not the interest; write watchers:of()" },
  { "a list of users as the answer", fan_out 'function() return { "ada", "bob" } end',
    "2:7: warning: `watchers` is never used; delete it",
    "5:32: error: `for_each` answers whom it reaches, not a table; write return watchers:of(event.payload.sku), or "
      .. 'kairos.segment.members "NAME"' },
  { "a segment's name as the answer", fan_out 'function() return "vip" end',
    "2:7: warning: `watchers` is never used; delete it",
    '5:32: error: `for_each` answers whom it reaches, not text; write kairos.segment.members "vip"' },
  { "nobody as the answer", fan_out "function(event) return event.payload.sku and watchers:of(event.payload.sku) or nil end" },
  { "of without the key", fan_out "function() return watchers:of() end",
    "5:32: error: this interest is kept apart by payload.sku; write watchers:of(event.payload.sku)" },
  { "a key that it has not", fan_out(nil, nil, [[name = "watchers", of = "product.viewed", over = "30d"]]),
    '5:49: error: this interest has no key; write watchers:of(), or give it by = "payload.…"' },
  { "a dot", fan_out "function(event) return watchers.of(event.payload.sku) end",
    "5:37: error: watchers.of is called with a colon; write watchers:of" },
  { "no time", fan_out(nil, nil, [[name = "watchers", of = "product.viewed", by = "payload.sku"]]),
    '2:34: error: kairos.interest needs `over`; write over = "30d"' },
  { "whom the event is about", fan_out(nil, 'user:set("told", event.user)'),
    "7:28: warning: in a fan-out this is whom the event is about, if anybody, and not who is reached; write user.id" },
  { "a segment that is not there", fan_out('kairos.segment.members "vips"', nil):gsub("\nlocal watchers[^\n]+", "\n"),
    '5:37: error: there is no segment `vips`; write "vip"', files = { ["../other/rule.lua"] = [[
local kairos = require "kairos"
return kairos.segment { name = "vip", member = function(user) return user.orders == 3 end }
]] } },
  { "a journey for each, not in its start", [[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", over = "30d" }
return kairos.journey {
  start = { on = "price.dropped" },
  for_each = function() return watchers:of() end,
  run = function(journey, _, event) journey:set("told", event.payload.sku) end,
}
]],
    "5:3: error: kairos.journey has no field `for_each`; write it in start = { on = …, for_each = function(event) return "
      .. "watchers:of(event.payload.sku) end }" },
  { "whom a journey for each is about", [[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", over = "30d" }
return kairos.journey {
  start = { on = "price.dropped", for_each = watchers:of() },
  run = function(journey, _, event) journey:set("told", event.user) end,
}
]],
    "5:63: warning: in a fan-out this is whom the event is about, if anybody, and not who is reached; write user.id" },
  { "pace as a number", fan_out "watchers:of(1), pace = 500",
    "5:37: error: `pace` of kairos.rule must be a rate in quotes, not 500; write pace = \"500/s\"" },
  { "an event type that is nearly another", fan_out(nil, 'user:emit { type = "product.viewd" }'),
    '2:60: warning: "product.viewed" is nearly the "product.viewd" of rule.lua:7; write "product.viewd" if it is the same' },
}

describe("a beginner's mistake with a fan-out", function()
  for _, mistake in ipairs(of_fan_outs) do
    it("is answered: " .. mistake[1], function() mistakes.expect(mistake) end)
  end
end)
