-- What a beginner gets wrong with experiments, and what kairos check answers (mistakes_spec.lua has the rest).
local mistakes = require "spec.functional.support.mistakes"

--- A campaign with an experiment of these fields, in line 3, whose `act` is this; its first line is line 8.
local DEFAULT = [[name = "offer", variants = { plain = 50, urgent = 50 }, goal = { on = "order.completed", within = "7d" }]]
local function act(body, fields)
  return ([[
local kairos = require "kairos"
local offer = kairos.experiment {
  %s,
}
return kairos.rule {
  on = "cart.updated",
  act = function(event, user)
%s
  end,
}
]]):format(fields or DEFAULT, body or '    user:set("offer", user:variant(offer))')
end

local of_experiments = {
  { "no goal", act(nil, [[name = "offer", variants = { "plain", "urgent" }]]),
    '2:33: error: kairos.experiment needs `goal`; write goal = { on = "order.completed", within = "7d" }' },
  { "a goal as text", act(nil, [[name = "offer", variants = { "plain", "urgent" }, goal = "order.completed"]]),
    '3:60: error: `goal` of kairos.experiment takes a table in braces, not "order.completed"; write { on = … }' },
  { "a goal without a time", act(nil, [[name = "offer", variants = { "plain", "urgent" }, goal = { on = "order.completed" }]]),
    '3:60: error: `goal` of kairos.experiment needs `within`; write within = "7d"' },
  { "choose misspelt", act(nil, [[name = "offer", variants = { "a", "b" }, choose = "tompson",
  goal = { on = "x", within = "7d" }]]),
    '3:53: error: `choose` of kairos.experiment cannot be "tompson"; write "thompson"' },
  { "a variant's name as text", act [[
    user:set("offer", user:variant("offer"))]],
    '8:36: error: `experiment` of user:variant must be what kairos.experiment returned, not "offer"; write offer, without '
      .. "quotes" },
  { "a variant in when", [[
local kairos = require "kairos"
local offer = kairos.experiment { name = "offer", variants = { "a", "b" }, goal = { on = "order.completed", within = "7d" } }
return kairos.rule {
  on = "cart.updated",
  when = function(_, user) return user:variant(offer) == "a" end,
  act = function(_, user) user:set("offered", true) end,
}
]],
    "5:35: error: `when` only answers whether the rule acts; write user:variant in act" },
  { "a variant that there is not", act [[
    if user:variant(offer) == "urgnt" then user:set("urgent", true) end]],
    '8:31: warning: it is never "urgnt"; write urgent' },
  { "a variant without its template", act [[
    local variant = user:variant(offer)
    user:send { channel = "email", template = variant, purpose = "marketing", cap = "3/7d" }]],
    "9:47: error: there is no template `urgent` in rules/suspect; write rules/suspect/urgent.html",
    files = { ["plain.html"] = "---\nsubject: S\n---\nx" } },
  { "a part of a template's name", act [[
    user:send { channel = "email", template = "offer_" .. user:variant(offer), purpose = "marketing", cap = "3/7d" }]],
    "8:47: error: there is no template `offer_urgent` in rules/suspect; write rules/suspect/offer_urgent.html",
    files = { ["offer_plain.html"] = "---\nsubject: S\n---\nx" } },
  { "an experiment in a function", [[
local kairos = require "kairos"
return kairos.rule {
  on = "cart.updated",
  act = function(_, user)
    local offer = kairos.experiment { name = "offer", variants = { "a", "b" }, goal = { on = "order.completed", within = "7d" } }
    user:set("offer", user:variant(offer))
  end,
}
]],
    "5:19: error: kairos.experiment belongs at the top of the file: the host must know it before an event comes; move it to "
      .. "the top" },
  { "a variant that nobody asks about", act [[
    user:variant(offer)]],
    "8:5: warning: nothing is done with what user:variant answers, so all variants are alike; write local variant = "
      .. "user:variant(…)" },
  { "a goal by a type that is nearly another", act(nil, [[name = "offer", variants = { "plain", "urgent" },
  goal = { on = "cart.update", within = "7d" }]]),
    '4:17: warning: "cart.update" is nearly the "cart.updated" of rule.lua:7; write "cart.updated" if it is the same' },
  { "where of a goal without return", act(nil, [[name = "offer", variants = { "plain", "urgent" },
  goal = { on = "order.completed", within = "7d", where = function(event) local _ = event.payload.total end }]]),
    "4:59: error: `where` answers nothing, so no event ever fits; write return in front of its condition" },
  { "weights in percent", act(nil, [[name = "offer", variants = { a = "50%", b = 50 }, goal = { on = "x", within = "7d" }]]),
    '3:36: error: the weight of `a` must be a number, not "50%"; write a = 50' },
  { "a variant without weight", act(nil, [[name = "offer", variants = { a = 50, b = 0 }, goal = { on = "x", within = "7d" }]]),
    "3:44: error: `b` has no weight, so nobody would get it; take it out, or write b = 1" },
  { "the experiment's variant", act [[
    user:set("offer", offer:variant(user))]],
    "8:29: error: an experiment has no `variant`; write user:variant(offer)" },
}

describe("a beginner's mistake with an experiment", function()
  for _, mistake in ipairs(of_experiments) do
    it("is answered: " .. mistake[1], function() mistakes.expect(mistake) end)
  end
end)
