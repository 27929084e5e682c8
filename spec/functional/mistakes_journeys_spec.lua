-- What a beginner gets wrong with journeys, and what kairos check answers (mistakes_spec.lua
-- has the rest).
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local mistakes = require "spec.functional.support.mistakes"
local process = require "spec.functional.support.process"

--- A journey whose `run` is this; its first line is line 5.
local function run(body)
  return ([[
local kairos = require "kairos"
return kairos.journey {
  start = { on = "cart.updated" },
  run = function(journey, user)
%s
  end,
}
]]):format(body)
end

--- A journey with these fields, in line 4.
local function fields(more)
  return ([[
local kairos = require "kairos"
return kairos.journey {
  start = { on = "cart.updated" },
  %s,
  run = function(journey) journey:wait "1h" end,
}
]]):format(more)
end

local SEND = 'channel = "email", template = %s, purpose = "marketing", cap = "3/7d"'

local of_journeys = {
  { "no run", [[
local kairos = require "kairos"
return kairos.journey { start = { on = "cart.updated" } }
]],
    "2:23: error: kairos.journey needs `run`; write run = function(journey, user) … end" },
  { "no start", [[
local kairos = require "kairos"
return kairos.journey { run = function(journey) journey:wait "1h" end }
]],
    '2:23: error: kairos.journey needs `start`; write start = { on = "order.completed" }' },
  { "on as in a rule", [[
local kairos = require "kairos"
return kairos.journey {
  on = "cart.updated",
  start = { on = "cart.updated" },
  run = function(journey) journey:wait "1h" end,
}
]],
    '3:3: error: kairos.journey has no field `on`; write it in start = { on = "cart.updated" }' },
  { "start as text", [[
local kairos = require "kairos"
return kairos.journey { start = "cart.updated", run = function(journey) journey:wait "1h" end }
]],
    '2:33: error: `start` of kairos.journey takes a table in braces, not "cart.updated"; write { on = … }' },
  { "exit as text", fields [[exit = "order.completed"]],
    '4:10: error: `exit` of kairos.journey takes a table in braces, not "order.completed"; write { on = … }' },
  { "again misspelt", fields [[again = "restrat"]],
    '4:11: error: `again` of kairos.journey cannot be "restrat"; write "restart"' },
  { "timers of a rule", fields [[timers = { later = function() end }]],
    '4:3: error: kairos.journey has no field `timers`; write journey:wait "1h" in run' },
  { "key without payload", fields [[key = "cart_id"]],
    '4:9: error: `key` of kairos.journey must begin with "payload.": it is a path into the event; write "payload.cart_id"' },
  { "a number to wait", run [[
    journey:wait(60)]],
    '5:18: error: `time` of journey:wait must be a duration in quotes, not 60; write "10m"' },
  { "an hour in words", run [[
    journey:wait "1 hour"]],
    '5:18: error: `time` of journey:wait is no duration; write "1h"' },
  { "a dot", run [[
    journey.wait "1h"]],
    "5:5: error: journey.wait is called with a colon; write journey:wait" },
  { "sleep", run [[
    journey:sleep "1h"]],
    "5:13: error: a journey has no `sleep`; write journey:wait" },
  { "next Monday without a time", run [[
    journey:wait_until "next monday"]],
    '5:24: error: `moment` of journey:wait_until has no time of day as in 09:00; write "next monday 09:00"' },
  { "a time of the day in English", run [[
    journey:wait_until "tomorrow 9am"]],
    '5:24: error: `moment` of journey:wait_until has no time of day as in 09:00; write "tomorrow 09:00"' },
  { "waits for ever", run [[
    if journey:wait_for { on = "message.clicked" } then journey:set("clicked", true) end]],
    '5:16: warning: without `within` this may wait for ever; write within = "7d": then it answers nil' },
  { "what came, unasked", run [[
    local click = journey:wait_for { on = "message.clicked", within = "1d" }
    journey:set("link", click.payload.url)]],
    "6:25: error: `click` is nil where nothing came within the time; write if click then … end around it" },
  { "a loop in which no time passes", run [[
    while true do
      journey:send { channel = "email", template = "hello", purpose = "marketing", cap = "1/7d" }
    end]],
    '5:5: error: this never ends, and in it no time passes; write journey:wait "1d" in it, or return when it is over' },
  { "a loop for ever", run [[
    while true do
      journey:wait "7d"
      journey:send { channel = "email", template = "hello", purpose = "marketing", cap = "1/7d" }
    end]],
    "5:5: warning: this never ends, and a journey keeps 1000 steps; write journey:continue(state) in place of the loop, or return "
      .. "when it is over" },
  { "a loop that asks and does not wait", run [[
    while not user.replied do
      journey:set("asked", true)
    end]],
    "5:5: error: in this loop no time passes, so what it asks for never changes; write journey:wait \"1d\" in it" },
  { "two thousand steps", run [[
    for _ = 1, 1000 do
      journey:wait "1d"
      journey:send { channel = "email", template = "hello", purpose = "marketing", cap = "1/7d" }
    end]],
    "5:5: warning: a journey keeps 1000 steps, and this loop takes 2000; write journey:continue(state) now and then: it begins "
      .. "anew with what you hand it" },
  { "shares that make 90", run([[
    local offer = journey:split { name = "offer", shipping = 50, percent = 40 }
    journey:send { ]] .. SEND:format "offer" .. " }"),
    "5:76: warning: these shares make 90 %, not 100; write percent = 50, if they are meant as percent",
    files = { ["shipping.html"] = "---\nsubject: S\n---\nx", ["percent.html"] = "---\nsubject: S\n---\nx" } },
  { "a branch without its template", run([[
    local offer = journey:split { name = "offer", shipping = 50, percent = 50 }
    journey:send { ]] .. SEND:format "offer" .. " }"),
    "6:50: error: there is no template `percent` in rules/suspect; write rules/suspect/percent.html",
    files = { ["shipping.html"] = "---\nsubject: S\n---\nx" } },
  { "a message without a purpose", run [[
    journey:wait "1h"
    journey:send { channel = "email", template = "hello" }]],
    '6:5: warning: this message has no purpose, so consent cannot be asked for; write purpose = "marketing", '
      .. "or another of the configuration",
    '6:5: warning: nothing bounds how often one user gets this message; write once_per = "7d" or cap = "3/7d"' },
  { "run(user, journey)", [[
local kairos = require "kairos"
return kairos.journey {
  start = { on = "cart.updated" },
  run = function(user, journey)
    journey:wait "1h"
  end,
}
]],
    "4:18: error: `run` is given the journey first, then the user; write function(journey, user)" },
  { "user:wait", run [[
    user:wait "1h"]],
    "5:10: error: user has no `wait`; write journey:wait" },
  { "an event type that the wait does not end by", run [[
    local event = journey:wait_for { on = { "message.clicked", "message.opened" }, within = "1d" }
    if event and event.type == "message.click" then journey:set("clicked", true) end]],
    '6:32: warning: this wait ends by no event of type "message.click"; write "message.clicked"' },
  { "a timer in a journey", run [[
    user:after("1h", { name = "later" })]],
    '5:5: error: a journey has no timers: it waits; write journey:wait "1h"' },
  { "where(journey, event)",
    fields [[exit = { on = "order.completed", where = function(journey, event) return journey.key == event.id end }]],
    "4:53: error: `where` is given the event first, then the journey; write function(event, journey)" },
  { "weights in percent", run [[
    journey:set("offer", journey:split { name = "offer", a = "50%", b = 50 })]],
    '5:62: error: the weight of `a` must be a number, not "50%"; write a = 50' },
  { "a split without a name", run [[
    journey:set("offer", journey:split { a = 50, b = 50 })]],
    '5:40: error: journey:split needs `name`, by which a user keeps his side; write name = "offer"' },
  { "a split of a list", run [[
    journey:set("offer", journey:split { "a", "b" })]],
    "5:42: error: journey:split takes each side with its weight; write a = 50" },
  { "a wait as a condition", run [[
    if journey:wait "1h" then journey:set("waited", true) end]],
    "5:8: warning: journey:wait answers nothing, so this is never true; write it on a line of its own" },
  { "a moment that is a time", run [[
    journey:wait_until "in 2 hours"]],
    '5:24: error: this is a time to wait, and no moment; write journey:wait "2h"' },
  { "no time at all", run [[
    journey:wait "0h"]],
    '5:18: error: `time` of journey:wait is no duration: it has to be longer than nothing; write "10m"' },
  { "the event in run", run [[
    journey:set("total", event.payload.total)]],
    "5:26: error: there is no `event` here; write journey.event for what began it" },
  { "a clock in run", run [[
    journey:wait_until(os.time() + 3600)]],
    "5:24: error: there is no `os` here; rules do no I/O and have no clock of their own; the time is event.timestamp or "
      .. "kairos.now()" },
  { "run(user)", [[
local kairos = require "kairos"
local orders = kairos.window { of = "order.completed", over = "1d" }
return kairos.journey {
  start = { on = "cart.updated" },
  run = function(user)
    if user:count(orders) == 0 then user:wait "1h" end
  end,
}
]],
    "6:13: error: `user` is the journey, it has no `count`; write function(journey, user): the journey comes first" },
  { "user:count where a journey sends", run [[
    journey:count(user)]],
    "5:13: error: a journey has no `count`; write user:count" },
  { "a journey that waits as a rule", [[
local kairos = require "kairos"
return kairos.rule {
  on = "cart.updated",
  act = function(_, user)
    user:wait "1h"
  end,
}
]],
    '5:10: error: user has no `wait`; write user:after("1h", { name = … }), or kairos.journey { … }, which has journey:wait' },
  { "run in a rule", [[
local kairos = require "kairos"
return kairos.rule { on = "cart.updated", run = function() end, act = function(_, user) user:set("seen", true) end }
]],
    "2:43: error: kairos.rule has no field `run`; write act = function(event, user) … end, or kairos.journey { … } for what takes "
      .. "its time" },
  { "late misspelt", run [[
    journey:wait("1h", { late = "skipp", late_after = "2h" })]],
    '5:33: error: `late` of `options` of journey:wait cannot be "skipp"; write "skip"' },
  { "an event type that is text and more", run [[
    journey:wait_for("message.clicked", "1d")]],
    '5:22: error: journey:wait_for takes a table in braces, not "message.clicked"; write { on = … }' },
  { "one branch", run [[
    journey:set("offer", journey:split { name = "offer", shipping = 100 })]],
    "5:58: warning: everybody takes the only branch; write another beside it: { shipping = 50, … = 50 }" },
  { "a side that there is not", run [[
    local offer = journey:split { name = "offer", shipping = 50, percent = 50 }
    if offer == "pecent" then journey:set("cheap", true) end]],
    '6:17: warning: it is never "pecent"; write percent' },
  { "the trigger's payload", run [[
    journey:set("total", journey.payload.total)]],
    "5:34: error: a journey has no `payload`; write journey.event.payload" },
  { "state between two waits", [[
local kairos = require "kairos"
local sent = 0
return kairos.journey {
  start = { on = "cart.updated" },
  run = function(journey)
    sent = sent + 1
    journey:set("sent", sent)
  end,
}
]],
    '6:5: error: rules keep no state between events; write user:set("sent", value), and read user.sent' },
  { "flight misspelt", fields [[flight = "adapt"]],
    '4:12: error: `flight` of kairos.journey cannot be "adapt"; write "adopt"' },
  { "a migration that answers nothing", fields [[flight = function(journey) local _ = journey.key end]],
    "4:12: error: `flight` answers nothing, so all stay with their own source; write return in front of its condition" },
  { "a migration that sends", fields [[flight = function(_, _, user) user:set("moved", true) return {} end]],
    "4:33: error: `flight` only answers with a state to begin anew with; write journey:set in run" },
  { "where that sets", fields [[exit = { on = "x", where = function(_, journey) journey:set("y", 1) return true end }]],
    "4:51: error: `where` only answers whether an event is meant; write journey:set in run" },
  { "a goal as text", fields [[goal = "order.completed"]],
    '4:10: error: `goal` of kairos.journey takes a table in braces, not "order.completed"; write { on = … }' },
  { "where without return", fields [[exit = { on = "order.completed", where = function(event) local _ = event.payload.id end }]],
    "4:44: error: `where` answers nothing, so no event ever fits; write return in front of its condition" },
  { "a split that nobody asks about", run [[
    journey:split { name = "offer", shipping = 50, percent = 50 }]],
    "5:5: warning: nothing is done with what journey:split answers; write local side = journey:split { … }" },
  { "one of several exits by a type that is nearly another",
    fields [[exit = { { on = "order.completed" }, { on = "cart.update" } }]],
    '4:47: warning: "cart.update" is nearly the "cart.updated" of rule.lua:3; write "cart.updated" if it is the same' },
  { "a worth by a type that is nearly another",
    fields [[holdout = "10%", worth = { on = "cart.update", within = "7d" }]],
    '4:35: warning: "cart.update" is nearly the "cart.updated" of rule.lua:3; write "cart.updated" if it is the same' },
  { "an event that is nearly another", run [[
    if journey:wait_for { on = "cart.update", within = "1d" } then journey:set("clicked", true) end]],
    '5:32: warning: "cart.update" is nearly the "cart.updated" of rule.lua:3; write "cart.updated" if it is the same' },
}

describe("a beginner's mistake with a journey", function()
  for _, mistake in ipairs(of_journeys) do
    it("is answered: " .. mistake[1], function() mistakes.expect(mistake) end)
  end
end)

-- { what run does in line 6, what the dead letter says } : what no check can see is said when it happens, in the same way.
local while_it_runs = {
  { "journey:set('sku', journey.event.payload.items[1].sku)", "attempt to index field 'items' (a nil value); it is not there: "
    .. "write `if … then` around this, or (… or {})" },
  { "journey:set('total', journey.event.payload.total + 1)", "attempt to perform arithmetic on field 'total' (a nil value); it is "
    .. "no number: write (… or 0), or tonumber(…)" },
  { "journey:wait(user.days)", 'the time given to journey:wait must be a duration such as "10m", not nil' },
  { "journey:wait_until(user.phrase)", 'journey:wait_until: "next moonday 09:00" is no moment to come' },
  { "journey:send { channel = 'push', template = 'of' .. 'fer', to = 'x' }", "there is no template `offer` in rules/suspect" },
  { "while true do journey:set('n', 1) end", "the journey has 1000 steps; write journey:continue(state) before: it starts afresh, "
    .. "with journey.state" },
  { "while true do end", "used up its budget of 20 ms" },
  { "journey.state = 5", "what a journey knows is not written: use a local variable of `run`" },
}

describe("a mistake that shows while a journey runs", function()
  it("is a dead letter with file and line, and the journey is parked with the same words", function()
    local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")
    local directory = files.temporary()
    local spec = { 'local sim = require "kairos.spec"\nlocal said = {}\ndescribe("all", function()' }
    for index, case in ipairs(while_it_runs) do
      files.write(("%s/rules/suspect%d/rule.lua"):format(directory, index), ([[
local kairos = require "kairos"
return kairos.journey {
  name = "suspect%d", start = { on = "cart.updated" },
  run = function(journey, user)
    journey:wait "1h"
    %s
    journey:set("phrase", user.phrase)
  end,
}
]]):format(index, case[1]))
      spec[#spec + 1] = ([[it("%d", function()
        local host = sim.host { rules = "rules/suspect%d" }
        host:profile { user = "ada", phrase = "next moonday 09:00" }
        host:event { type = "cart.updated", user = "ada" }
        host:advance "2h"
        local letter, journey = host:dead()[1].error:match "[^\n]+", host:user("ada").journeys[1]
        assert.failed(host, { campaign = "suspect%d" })
        assert.equal("parked", journey.state)
        assert.equal(letter, journey.why)
        print(letter)
      end)]]):format(index, index, index)
    end
    spec[#spec + 1] = "end)\n"
    files.write(directory .. "/spec/rules/all_spec.lua", table.concat(spec, "\n"))
    local line = ("cd %s && exec %s spec spec/rules/all_spec.lua"):format(directory, binary)
    local result = process.run { command = { "sh", "-c", line }, seconds = 60 * Host.patience }
    assert.equal(0, result.status, result.out .. result.err)
    local letters = {}
    for letter in result.out:gmatch "\n +(rules/[^\n]+)" do letters[#letters + 1] = letter end
    assert.equal(#while_it_runs, #letters, result.out)
    for index, case in ipairs(while_it_runs) do
      local expected = ("rules/suspect%d/rule.lua:6: %s"):format(index, (case[2]:gsub("rules/suspect$", "%0" .. index)))
      assert.equal(expected, letters[index]:sub(1, #expected))
    end
    files.remove(directory)
  end)
end)
