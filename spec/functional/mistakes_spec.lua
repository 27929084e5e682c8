-- What a beginner gets wrong, found by writing campaigns as one, and what kairos check answers: the place, what is wrong, and what
-- to write. Every problem that it finds in the file is named here, so none of them brings false alarms with it.
local mistakes_of = require "spec.functional.support.mistakes"

--- A campaign whose `act` is this; its first line is line 5.
local function act(body)
  return ([[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
%s
  end,
}
]]):format(body)
end

--- A campaign with these fields, in line 4.
local function fields(more)
  return ([[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  %s,
  act = function() end,
}
]]):format(more)
end

--- A campaign whose `when` is this; its first line is line 6, and `top` is line 2.
local function when(body, top)
  return ([[
local kairos = require "kairos"
%s
return kairos.rule {
  on = "order.completed",
  when = function(event, user)
%s
  end,
  act = function(event, user)
    user:set("seen", true)
  end,
}
]]):format(top or "", body)
end

-- { what, rule.lua, what is said …, files = what else is in the folder }; there is a template hello.html where the rule names it.
local mistakes = {
  { "missing end", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    if event.payload.total > 3 then
      user:set("big", true)
  end,
}
]],
    "7:3: error: `if` of line 5 is not closed; write end above this line" },
  { "= for ==", act [[
    if event.payload.total = 3 then
      user:set("x", 1)
    end]],
    "5:28: error: `=` gives a value, it does not compare; write ==" },
  { "!=", act [[
    if event.payload.total != 3 then
      user:set("x", 1)
    end]],
    "5:28: error: there is no `!=` in Lua; write ~=" },
  { "+=", act [[
    local n = user.orders or 0
    n += 1
    user:set("orders", n)]],
    "6:5: error: there is no `+=` in Lua; write n = n + 1" },
  { "++", act [[
    local n = user.orders or 0
    n++
    user:set("orders", n)]],
    "6:6: error: there is no `++` in Lua; write n = n + 1" },
  { "&&", act [[
    if event.payload.total > 3 && event.payload.vip then
      user:set("x", 1)
    end]],
    "5:32: error: there is no `&&` in Lua; write and" },
  { "||", act [[
    if event.payload.total > 3 || event.payload.vip then
      user:set("x", 1)
    end]],
    "5:32: error: there is no `||` in Lua; write or" },
  { "!", act [[
    if !event.payload.vip then
      user:set("x", 1)
    end]],
    "5:8: error: there is no `!` in Lua; write not" },
  { "null", act [[
    if event.payload.vip == null then
      user:set("x", 1)
    end]],
    "5:29: error: there is nothing named `null` here; write nil" },
  { "missing comma", [[
local kairos = require "kairos"
return kairos.rule {
  name = "suspect"
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:19: error: a comma is missing before `on`; write ," },
  { "missing comma after end", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  when = function(event, user)
    return true
  end
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "6:6: error: a comma is missing before `act`; write ," },
  { "smart quotes", [[
local kairos = require “kairos”
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '1:24: error: `“` is a quote of a word processor; write "' },
  { "else if", act [[
    if event.payload.total > 3 then
      user:set("x", 1)
    else if event.payload.total > 2 then
      user:set("x", 2)
    end]],
    "7:5: error: `else if` begins another `if`, which wants an `end` of its own; write elseif" },
  { "elif", act [[
    if event.payload.total > 3 then
      user:set("x", 1)
    elif event.payload.total > 2 then
      user:set("x", 2)
    end]],
    "7:5: error: there is no `elif` in Lua; write elseif" },
  { "no then", act [[
    if event.payload.total > 3
      user:set("x", 1)
    end]],
    "5:31: error: the condition of `if` ends with `then`; write then" },
  { "no do", act [[
    for _, item in ipairs(event.payload.items)
      user:set("x", item.sku)
    end]],
    "5:47: error: the head of a loop ends with `do`; write do" },
  { "unclosed string", act [[
    user:set("x, 1)]],
    '5:14: error: the text that begins here is not closed; write " at its end, on the same line' },
  { "end too many", act [[
    user:set("x", 1)
    end]],
    "6:5: error: there is one `end` too many; delete it" },
  { "brace missing", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
]],
    "6:7: error: `{` of line 2 is not closed; write }" },
  { "paren missing", act [[
    user:set("x", 1]],
    "6:3: error: `(` of line 5 is not closed; write ) before `end`" },
  { "function name in table", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  function act(event, user)
    user:set("x", 1)
  end,
}
]],
    "4:3: error: a function in a table is written like any other field; write act = function(…)" },
  { "colon", [[
local kairos = require "kairos"
return kairos.rule {
  on: "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:5: error: a field has `=` in front of its value; write on = …" },
  { "json keys", [[
local kairos = require "kairos"
return kairos.rule {
  "on": "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:7: error: a field's name has no quotes, and `=` stands in front of its value; write on = …" },
  { "quoted =", [[
local kairos = require "kairos"
return kairos.rule {
  "on" = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:8: error: a field's name has no quotes, and `=` stands in front of its value; write on = …" },
  { "let", [[
let kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "1:1: error: there is no `let` in Lua; write local kairos" },
  { "// comment", act [[
    // remember
    user:set("x", 1)]],
    "5:5: error: a comment begins with --; write -- instead of //" },
  { "# comment", act [[
    # remember
    user:set("x", 1)]],
    "5:5: error: a comment begins with --; write -- instead of #" },
  { "ternary", act [[
    user:set("x", event.payload.vip ? 1 : 0)]],
    "5:37: error: there is no `?` in Lua; write condition and this or that" },
  { "unquoted duration", act [[
    user:once("x", 7d)]],
    '5:20: error: a duration stands in quotes; write "7d"' },
  { "=>", act [[
    if event.payload.total => 3 then
      user:set("x", 1)
    end]],
    "5:28: error: there is no `=>` in Lua; write >=" },
  { "named args in parens", act [[
    user:send(channel = "email", template = "hello")]],
    "5:23: error: named values stand in braces; write { channel = … } instead of (channel = …)" },
  { "comma in args", when([[
    return user:count(views event.payload.sku) > 3]],
    'local views = kairos.window { of = "product.viewed", by = "payload.sku", over = "1d" }'),
    "6:28: error: a comma is missing before `event`; write ," },
  { "when no return", when([[
    user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:24: error: nothing comes of this comparison; write return in front of it, or put it behind if" },
  { "text after return", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
local views = 1
]],
    "8:1: error: nothing can stand behind the last `return` of a file; move it above" },
  { "keyword field", act [[
    user:set("x", event.payload.end)]],
    "5:33: error: `end` is a word of Lua's own; write [\"end\"] instead of .end" },
  { "value missing 2", act [[
    local x =
    if x then user:set("x", 1) end]],
    "6:5: error: a value is missing before `if`" },
  { "kairos not required", [[
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '1:8: error: there is no `kairos` here; write local kairos = require "kairos" at the top of the file' },
  { "misspelt local", when([[
    return user:count(oders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:23: error: there is nothing named `oders` here; write orders" },
  { "global", act [[
    count = (user.count_of_orders or 0) + 1
    user:set("count_of_orders", count)]],
    "5:5: error: `count` is not declared; write local count = … if it is for this call, user:set if it shall last" },
  { "top global", [[
kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "1:1: warning: `kairos` is not declared; write local kairos = …" },
  { "os.time", act [[
    user:set("at", os.time())]],
    "5:14: error: `at` means something else already: user.at; choose another name",
    "5:20: error: there is no `os` here; rules do no I/O and have no clock of their own; the time is "
      .. "event.timestamp or kairos.now()" },
  { "os.date", act [[
    if os.date("%H") == "9" then user:set("x", 1) end]],
    "5:8: error: there is no `os` here; rules do no I/O and have no clock of their own; the time is "
      .. "event.timestamp or kairos.now()" },
  { "randomseed", act [[
    math.randomseed(5)
    user:set("x", math.random(3))]],
    "5:10: error: math.random follows from event, user and campaign: a replay throws the same dice; delete this line" },
  { "string.fromat", act [[
    user:set("x", string.fromat("%d", 3))]],
    "5:26: error: there is no `string.fromat` here; write string.format" },
  { "require socket", [[
local kairos = require "kairos"
local http = require "socket.http"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", http.get(event.payload.url))
  end,
}
]],
    "2:22: error: there is no module `socket.http`; a rule has kairos, and modules of your own" },
  { "require helper misspelt", [[
local kairos = require "kairos"
local helpers = require "shared.helprs"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    helpers.f(user)
  end,
}
]],
    '2:25: error: there is no module `shared.helprs`; write require "shared.helpers"',
    files = { ["../shared/helpers.lua"] = "return { f = function(user) user:set('x', 1) end }" } },
  { "kairos.windw", [[
local kairos = require "kairos"
local views = kairos.windw { of = "product.viewed", over = "1d" }
return kairos.rule {
  on = "order.completed",
  when = function(_, user) return user:count(views) > 1 end,
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "2:22: error: there is no `kairos.windw`; write kairos.window" },
  { "onn", [[
local kairos = require "kairos"
return kairos.rule {
  onn = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:3: error: kairos.rule has no field `onn`; write on" },
  { "no act", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
}
]],
    "2:20: error: kairos.rule needs `act`; write act = function(event, user) … end" },
  { "no on", [[
local kairos = require "kairos"
return kairos.rule {
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '2:20: error: kairos.rule needs `on`; write on = "order.completed"' },
  { "name spaces", [[
local kairos = require "kairos"
return kairos.rule {
  name = "Third order",
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '3:10: error: `name` of kairos.rule must be a name: letters, digits, _ . and -; write "Third_order"' },
  { "when true", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  when = true,
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "4:10: error: `when` of kairos.rule must be a function, not true; write when = function(event, user) … end" },
  { "act = call", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = user:send { purpose = "marketing", channel = "email", template = "hello" },
}
]],
    "4:9: error: `act` of kairos.rule is called here and now, not when an event comes; write act = "
      .. "function(event, user) … end" },
  { "no return rule", [[
local kairos = require "kairos"
kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "2:1: error: the rule is not given to the host; write return kairos.rule { … }" },
  { "return table", [[
return {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "1:1: error: this table is no rule; write return kairos.rule { … }" },
  { "swapped", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(user, event)
    user:set("x", 1)
  end,
}
]],
    "4:18: error: `act` is given the event first, then the user; write function(event, user)",
    "5:10: error: `user` is the event, it has no `set`; write function(event, user): the event comes first" },
  { "only user", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(user)
    user:send { purpose = "marketing", channel = "email", template = "hello", once_per = "1d" }
  end,
}
]],
    "5:10: error: `user` is the event, it has no `send`; write function(event, user): the event comes first" },
  { "name == ", [[
local kairos = require "kairos"
return kairos.rule {
  on == "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "3:3: error: `==` compares, it does not give a value; write on = …" },
  { "rollout number", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed", rollout = 25,
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '3:37: error: `rollout` of kairos.rule must be a share of the users in quotes, not 25; write rollout = "25%"' },
  { "mode", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed", mode = "shaddow",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    '3:34: error: `mode` of kairos.rule cannot be "shaddow"; write "shadow"' },
  { "10min", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "10min" }'),
    '2:63: error: `over` of kairos.window is no duration; write "10m"' },
  { "7 days", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "7 days" }'),
    '2:63: error: `over` of kairos.window is no duration; write "7d"' },
  { "over number", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = 10 }'),
    '2:63: error: `over` of kairos.window must be a duration in quotes, not 10; write over = "10m"' },
  { "ovr", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", ovr = "10m" }'),
    "2:56: error: kairos.window has no field `ovr`; write over" },
  { "by without payload", when([[
    return user:count(orders, event.payload.sku) >= 3]],
    'local orders = kairos.window { of = "order.completed", by = "sku", over = "10m" }'),
    '2:61: error: `by` of kairos.window must begin with "payload.": it is a path into the event; write "payload.sku"' },
  { "never read", when([[
    return event.payload.total > 3]],
    'local orders = kairos.window { of = "order.completed", over = "10m" }'),
    "2:7: warning: the window `orders` is never read; write user:count(orders), or delete it" },
  { "window without a name", [[
local kairos = require "kairos"
kairos.window { of = "order.completed", over = "7d" }
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
}
]],
    "2:1: warning: this window has no name, so nothing can read it; write local events = kairos.window { … }" },
  { "look-up that is none", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  needs = { stock = "shop/stock" },
  act = function(event, user, needs)
    user:set("stock", needs.stock)
  end,
}
]],
    '4:21: error: `stock` of needs of kairos.rule must be a look-up, not "shop/stock"; write stock = kairos.needs { … }' },
  { "sum read by count", when([[
    return user:count(spent) >= 3]],
    'local spent = kairos.window { of = "order.completed", sum = "payload.total", over = "10m" }'),
    "6:17: error: this window answers user:sum, not user:count; write user:sum, or declare a window without `sum`" },
  { "count read by sum", when([[
    return user:sum(spent) >= 3]],
    'local spent = kairos.window { of = "order.completed", over = "10m" }'),
    "6:17: error: this window answers user:count, not user:sum; write user:count, or declare a window with "
      .. 'sum = "payload.…"' },
  { "keyed without key", when([[
    return user:count(views) >= 3]],
    'local views = kairos.window { of = "product.viewed", by = "payload.sku", over = "10m" }'),
    "6:12: error: this window is kept apart by payload.sku; write which: user:count(views, event.payload.sku)" },
  { "unkeyed with key", when([[
    return user:count(views, event.payload.sku) >= 3]],
    'local views = kairos.window { of = "product.viewed", over = "10m" }'),
    '6:30: error: this window has no key; write user:count(views), or give the window by = "payload.…"' },
  { "count of type", when([[
    return user:count("order.completed") >= 3]]),
    "6:23: error: user:count takes a window, not the name of an event type; write local events = "
      .. 'kairos.window { of = "order.completed", over = "7d" } at the top of the file, and user:count(events) here' },
  { "window in function", when([[
    local orders = kairos.window { of = "order.completed", over = "1d" }
    return user:count(orders) >= 3]]),
    "6:20: error: kairos.window belongs at the top of the file: the host must know it before an event comes; "
      .. "move it to the top" },
  { "dot call", when([[
    return user.count(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:12: error: user.count is called with a colon; write user:count" },
  { "coutn", when([[
    return user:coutn(orders) >= 3]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:17: error: user has no `coutn`; write user:count" },
  { "kairos:window", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos:window { of = "order.completed", over = "1d" }'),
    "2:23: error: kairos.window is called with a dot; write kairos.window" },
  { "paylod", act [[
    user:set("x", event.paylod.total)]],
    "5:25: error: the event has no `paylod`; write event.payload" },
  { "event.sku", act [[
    user:set("x", event.sku)]],
    "5:25: error: the event has no `sku`; write event.payload.sku for what its sender says" },
  { "payload write", act [[
    event.payload.total = 5
    user:set("x", event.payload.total)]],
    "5:5: error: the event is read-only; copy what you want to change into a table of your own" },
  { "user.x =", act [[
    user.seen = true]],
    '5:5: error: attributes are not set like this; write user:set("seen", value)' },
  { "send in when", when([[
    user:send { purpose = "marketing", channel = "email", template = "hello", once_per = "7d" }
    return true]]),
    "6:5: error: `when` only answers whether the rule acts; write user:send in act" },
  { "set no value", act [[
    user:set("x")]],
    '5:5: error: user:set needs a value; write user:set("x", true); nil removes it' },
  { "once no duration", act [[
    if user:once("x") then user:set("y", 1) end]],
    '5:8: error: user:once needs `over`; write user:once("x", "10m")' },
  { "after number", act [[
    user:after(300, { name = "later" })]],
    '5:16: error: `time` of user:after must be a duration in quotes, not 300; write "10m"',
    "5:30: error: the rule has no timer `later`; write timers = { later = function(timer, user) … end } in kairos.rule" },
  { "after no timer", act [[
    user:after("5m", { name = "later" })]],
    "5:31: error: the rule has no timer `later`; write timers = { later = function(timer, user) … end } in kairos.rule" },
  { "after misspelt", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("5m", { name = "remnider" })
  end,
  timers = {
    reminder = function(timer, user)
      user:set("x", timer.name)
    end,
  },
}
]],
    '5:31: error: the rule has no timer `remnider`; write "reminder"' },
  { "after table first", act [[
    user:after { time = "5m", name = "later" }]],
    '5:5: error: user:after takes a table in braces; write user:after("10m", { name = … })' },
  { "after without table", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("5m", "reminder")
  end,
  timers = {
    reminder = function(timer, user)
      user:set("x", timer.name)
    end,
  },
}
]],
    '5:22: error: user:after takes a table in braces, not "reminder"; write { name = … }' },
  { "timer payload", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("5m", { name = "reminder" })
  end,
  timers = {
    reminder = function(event, user)
      user:set("x", event.payload.sku)
    end,
  },
}
]],
    "9:27: error: a timer has no `payload`; write event.data for what user:after was given as data" },
  { "timers list", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("5m", { name = "reminder" })
  end,
  timers = {
    function(timer, user)
      user:set("x", timer.name)
    end,
  },
}
]],
    "8:5: error: `timers` of kairos.rule must name each function; write name = function(…) … end" },
  { "state table", [[
local kairos = require "kairos"
local seen = {}
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    seen[event.user] = true
    user:set("x", 1)
  end,
}
]],
    "6:5: error: rules keep no state between events; write user:set, and read the attribute" },
  { "state number", [[
local kairos = require "kairos"
local count = 0
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    count = count + 1
    user:set("x", count)
  end,
}
]],
    '6:5: error: rules keep no state between events; write user:set("count", value), and read user.count' },
  { "cancel_on slip", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("5m", { name = "reminder", cancel_on = "order.complete" })
  end,
  timers = {
    reminder = function(timer, user)
      user:set("x", timer.name)
    end,
  },
}
]],
    '5:55: warning: "order.complete" is nearly the "order.completed" of rule.lua:3; write "order.completed" '
      .. "if it is the same" },
  { "type slip", when([[
    return user:count(orders) >= 3]],
    'local orders = kairos.window { of = "order_completed", over = "1d" }'),
    '2:37: warning: "order_completed" is nearly the "order.completed" of rule.lua:4; write "order.completed" '
      .. "if it is the same" },
  { "template slip", act [[
    user:send { purpose = "marketing", channel = "email", template = "helo", once_per = "7d" }]],
    '5:70: error: there is no template `helo` in rules/suspect; write "hello"',
    files = { ["hello.html"] = "---\nsubject: Hello\n---\nHello" } },
  { "no template", act [[
    user:send { purpose = "marketing", channel = "email", template = "welcome", once_per = "7d" }]],
    "5:70: error: there is no template `welcome` in rules/suspect; write rules/suspect/welcome.html" },
  { "channel slip", act [[
    user:send { purpose = "marketing", channel = "e-mail", template = "hello", once_per = "7d" }]],
    '5:50: error: `channel` of user:send cannot be "e-mail"; write "email"' },
  { "no channel", act [[
    user:send { purpose = "marketing", template = "hello", once_per = "7d" }]],
    '5:15: error: user:send needs `channel`; write channel = "email"' },
  { "onceper", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", onceper = "7d" }]],
    "5:79: error: user:send has no field `onceper`; write once_per" },
  { "once_per week", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", once_per = "1 month" }]],
    '5:90: error: `once_per` of user:send is no duration; write "30d"' },
  { "positional", act [[
    user:send("email", "hello")]],
    '5:15: error: user:send takes a table in braces, not "email"; write { channel = … }' },
  { "variable slip", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", data = { title = "Sir" }, once_per = "7d" }]],
    "hello.html:4:9: warning: nothing provides `titel`: neither the data of rule.lua:5 nor the profile; write {{title}}",
    files = { ["hello.html"] = "---\nsubject: hi\n---\nHello {{titel}}" } },
  { "template unused", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", once_per = "7d" }]],
    "hello_again.html:1:1: warning: no rule sends this template; delete the file, or send it",
    files = { ["hello_again.html"] = "x" } },
  { "data = event", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", data = event, once_per = "7d" }]],
    "5:86: warning: the template would see the event's own fields, not what its sender says; write data = event.payload" },
  { "no purpose", act [[
    user:send { channel = "email", template = "hello", once_per = "7d" }]],
    '5:5: warning: this message has no purpose, so consent cannot be asked for; write purpose = "marketing", '
      .. "or another of the configuration" },
  { "purpose slip", act [[
    user:send { purpose = "marketting", channel = "email", template = "hello", once_per = "7d" }]],
    '5:27: error: the configuration has no purpose "marketting"; write "marketing"' },
  { "no cap", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello" }]],
    '5:5: warning: nothing bounds how often one user gets this message; write once_per = "7d" or cap = "3/7d"' },
  { "share without its sign", fields [[rollout = "25"]],
    '4:13: error: `rollout` of kairos.rule is no share of the users such as "25%" or "0.5%"; write "25%"' },
  { "hours of an office", fields [[hours = "9am - 6pm"]],
    '4:11: error: `hours` of kairos.rule names no hours from and to, as in "09:00-18:00"; write "09:00-18:00"' },
  { "hours of a city", fields [[hours = "09:00-18:00 Berlin"]],
    '4:11: error: `hours` of kairos.rule names no time zone: there is no time zone "Berlin"; write "09:00-18:00 Europe/Berlin"' },
  { "a day that is none", fields [[starts = "2026-11-31 09:00"]],
    '4:12: error: `starts` of kairos.rule is no time: the day is 31, and may be 1 to 30; '
      .. 'write "2026-11-27 09:00 Europe/Berlin"' },
  { "a mode of one's own", fields [[mode = "test"]],
    '4:10: error: `mode` of kairos.rule cannot be "test"; there are: live, shadow, paused' },
  { "cap in words", act [[
    user:send { purpose = "marketing", channel = "email", template = "hello", cap = "3 a week" }]],
    '5:85: error: `cap` of user:send is no cap: write how many, "/" and in how long, such as "3/7d", or in a '
      .. 'day, a week or a month of the calendar: "1/1d calendar", "3/1w calendar", "5/1month calendar"' },
  { "part of the library not fetched", act [[
    user:set("due", date.add(event.timestamp, "1 month"))]],
    "5:21: error: there is nothing named `date` here; write local date = kairos.date at the top of the file" },
  { "part of the library misspelt", [[
local kairos = require "kairos"
local date = kairos.date
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("due", date.ad(event.timestamp, "1 month"))
  end,
}
]],
    "6:26: error: there is no `date.ad`; write date.add" },
  { "count == text", when([[
    return user:count(orders) == "3"]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:34: warning: a number never equals text; write 3" },
  { "count >= text", when([[
    return user:count(orders) >= "3"]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:34: error: a number cannot be compared with text by >=; write 3" },
  { "return count", when([[
    return user:count(orders)]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:12: warning: a number is true, even 0; write > 0 behind it" },
  { "if count", when([[
    if user:count(orders) then return true end]],
    'local orders = kairos.window { of = "order.completed", over = "1d" }'),
    "6:8: warning: a number is true, even 0; write > 0 behind it" },
  { "not ==", when([[
    return not event.payload.kind == "gift"]]),
    "6:12: warning: `not` belongs to what stands behind it alone: this compares false with it; write "
      .. 'event.payload.kind ~= "gift"' },
  { "== or", when([[
    return event.payload.kind == "gift" or "card"]]),
    "6:12: warning: this is always true: what stands behind `or` is a condition of its own; write … or "
      .. 'event.payload.kind == "card"' },
  { "type never", when([[
    return event.type == "cart.updated"]]),
    '6:26: warning: the rule gets no event of type "cart.updated"; add it to its `on`, which has: order.completed' },
  { "text +", act [[
    user:set("x", "orders: " + event.payload.total)]],
    "5:19: error: `+` adds numbers; write .. to join text" },
  { "items[0]", act [[
    user:set("x", event.payload.items[0].sku)]],
    "5:39: warning: lists begin at 1 in Lua; write [1]" },
  { "unused", act [[
    local total = event.payload.total
    user:set("x", 1)]],
    "5:11: warning: `total` is never used; delete it" },
  { "unreachable", act [[
    do return end
    user:set("x", 1)]],
    "6:5: warning: this is never reached; delete it, or move it above" },
  { "nothing done", act [[
    user:last(sku)]],
    "5:5: warning: nothing is done with what user:last answers; write it behind if or return",
    "5:15: error: there is nothing named `sku` here; if it is yours, declare it above: local sku = …" },
  { "timer never set", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("x", 1)
  end,
  timers = {
    reminder = function(timer, user)
      user:set("x", timer.name)
    end,
  },
}
]],
    '8:5: warning: nothing sets the timer `reminder`; write user:after("1h", { name = "reminder" }) in act' },
  { "timer without timer", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:after("1h", { name = "thanks" })
  end,
  timers = {
    thanks = function(user)
      user:set("thanked", true)
    end,
  },
}
]],
    "9:12: error: `user` is the timer, it has no `set`; write function(timer, user): the timer comes first" },
  { "user:at text", act [[
    user:at("friday 17:00", { name = "digest" })
  end,
  timers = { digest = function(_, user) user:set("x", 1) end },
  when = function(event) return event.payload.total > 3]],
    '5:13: error: user:at takes a moment in milliseconds, not text; write kairos.date.next("friday 17:00", user)' },
  { "whose clock", act [[
    user:set("due", kairos.date.next("friday 17:00"))]],
    "5:21: warning: this goes by the clock of the configuration's time_zone, not by the user's; write "
      .. 'kairos.date.next("friday 17:00", user)' },
  { "day and time", act [[
    user:set("due", kairos.date.next("every Friday at 5pm", user))]],
    '5:38: error: `text` of date.next is no day and time; write "friday 17:00"' },
  { "words for a moment to come", act [[
    user:set("a", kairos.date.upcoming("mondya 09:00", kairos.now(), user))
    user:set("b", kairos.date.upcoming("tomorrow at 9pm", kairos.now(), user))
    user:set("c", kairos.date.upcoming("in 3 days 09:00 Europe/Berln", kairos.now(), user))]],
    '5:40: error: `text` of date.upcoming is no moment to come; write "monday 09:00"',
    '6:40: error: `text` of date.upcoming has no time of day as in 09:00; write "tomorrow 21:00"',
    '7:40: error: `text` of date.upcoming names no time zone: there is no "Europe/Berln"; write "in 3 days 09:00 Europe/Berlin"' },
  { "schedule", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed",
  every = "friday 17:00",
  act = function(event, user)
    user:set("x", event.payload.total)
  end,
}
]],
    "4:3: error: kairos.rule has no field `every`; write on = an event type, and in act "
      .. 'user:at(kairos.date.next("friday 17:00", user), { name = … })' },
  { "purpose of a rule", [[
local kairos = require "kairos"
return kairos.rule {
  on = "order.completed", purpose = "marketing",
  act = function(event, user)
    user:set("x", event.payload.total)
  end,
}
]],
    "3:27: error: kairos.rule has no field `purpose`; write it in user:send { purpose = … }" },
  { "quiet hours of a send", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d", quiet_hours = "21:00-08:00" }]],
    "5:93: error: user:send has no field `quiet_hours`; quiet hours are the purpose's: purposes, in the configuration" },
  { "priority of a send", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d", priority = 3 }]],
    "5:93: error: user:send has no field `priority`; write it in kairos.rule { priority = … }" },
  { "subject of a send", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d", subject = "Hello" }]],
    "5:93: error: user:send has no field `subject`; write it at the top of the template, between two lines ---" },
  { "template with its ending", act [[
    user:send { channel = "email", template = "hello.html", purpose = "marketing", cap = "3/7d" }]],
    '5:47: error: there is no template `hello.html` in rules/suspect; write "hello"',
    files = { ["hello.html"] = "---\nsubject: Hello\n---\nHello" } },
  { "kairos.send", act [[
    kairos.send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d" }]],
    "5:12: error: `kairos` has no `send`; write user:send" },
  { "print", act [[
    print(event.payload.total)
    user:set("x", 1)]],
    "5:5: error: a rule has nowhere to print to, and fails here; delete it: what a rule read and decided is shown by "
      .. "kairos why USER --replay" },
  { "text > from a payload", act [[
    if event.payload.total > "100" then
      user:set("x", 1)
    end]],
    "5:30: error: a number cannot be compared with text by >; write 100" },
  { "user:get", act [[
    if user:get("tier") ~= "gold" then user:set("tier", "gold") end]],
    "5:13: error: attributes are read by their names; write user.tier" },
  { "user.get", act [[
    if user.get("tier") ~= "gold" then user:set("tier", "gold") end]],
    "5:8: error: user.get is an attribute, no function; write user.tier" },
  { "event.user.name", act [[
    if event.user.tier ~= "gold" then user:set("tier", "gold") end]],
    "5:19: error: `event.user` is the user's id; write user.tier" },
  { "nil joined", act [[
    user:set("greeting", "Dear " .. user.first_name)]],
    '5:37: warning: a user may have none, and joining text with nil fails; write (user.first_name or "")' },
  { "loop over a list", act [[
    for _, item in event.payload.items do
      user:set(item.sku, true)
    end]],
    "5:20: error: `for … in` goes over what ipairs or pairs answer, not over a list itself; write ipairs(event.payload.items)" },
  { "email without a subject", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d" }]],
    'hello.html:1:1: warning: an email needs a subject; write at its top: --- and below it subject: "…" and ---',
    files = { ["hello.html"] = "Hello" } },
  { "Subject", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d" }]],
    "hello.html:2:1: warning: an email needs a subject; write subject",
    files = { ["hello.html"] = "---\nSubject: Hello\n---\nHello" } },
  { "JSON with a comma too many", act [[
    user:send { channel = "push", template = "offer", purpose = "marketing", cap = "3/7d", data = event.payload }]],
    "offer.json:3:1: error: this renders to no JSON: a key in double quotes is expected",
    files = { ["offer.json"] = '{"title": "{{title}}", "price": {{price}},\n "tag": "{{{tag}}}",\n}\n' } },
  { "JSON without a comma", act [[
    user:send { channel = "webhook", template = "offer", purpose = "marketing", cap = "3/7d", data = event.payload }]],
    "offer.json:6:2: error: this renders to no JSON: ',' or '}' is expected",
    files = { ["offer.json"] = '---\ntitle: "An offer of {{shop}}"\n---\n{\n "title": "{{title}}"\n "price": {{price}}\n}\n' } },
  { "JSON with a comma behind the last of a list", act [[
    user:send { channel = "push", template = "offer", purpose = "marketing", cap = "3/7d", data = event.payload }]],
    "offer.json:1:43: warning: this renders to no JSON where its sections have something in them: a value is expected",
    files = { ["offer.json"] = '{"items": [{{#items}}"{{sku}}",{{/items}} ]}' } },
  { "text in a .json template", act [[
    user:send { channel = "push", template = "offer", purpose = "marketing", cap = "3/7d", data = event.payload }]],
    "offer.json:1:1: error: this renders to no JSON: a value is expected",
    files = { ["offer.json"] = 'Hello {{title}}' } },
  { "a template's variable as in a rule", act [[
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d", data = event.payload }]],
    "hello.html:4:3: warning: a template sees the message's data and the user's attributes, by their own names; write {{total}}",
    files = { ["hello.html"] = "---\nsubject: Hello\n---\n{{event.payload.total}}" } },
  { "attr slip", act [[
    if user.frist_name == nil then user:set("first_name", event.payload.name) end]],
    "5:13: warning: nothing sets the attribute `frist_name`; write first_name" },
}

describe("a beginner's mistake", function()
  for _, mistake in ipairs(mistakes) do
    it("is answered: " .. mistake[1], function() mistakes_of.expect(mistake) end)
  end

  it("is shown with its line and a mark below what is meant", function()
    local _, result = mistakes_of.check(act [[
    user:coutn("x")]])
    assert.truthy(result.err:find([[
     5 |     user:coutn("x")
       |          ^~~~~
]], 1, true), result.err)
  end)
end)
