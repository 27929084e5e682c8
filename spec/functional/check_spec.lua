-- kairos check as a whole: every problem of every campaign in one run, for people and for editors.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local RIGHT = [[
local kairos = require "kairos"
return kairos.rule { on = "x", act = function(_, user) user:set("seen", true) end }
]]

describe("kairos check", function()
  local directory
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Write campaigns, each a rule.lua's text or {file = text}, and check them.
  local function check(rules, ...)
    for campaign, content in pairs(rules) do
      if type(content) == "string" then content = { ["rule.lua"] = content } end
      for name, text in pairs(content) do files.write(("%s/rules/%s/%s"):format(directory, campaign, name), text) end
    end
    return process.run { command = { Host.binary, "check", "--rules", directory .. "/rules", ... }, seconds = 60 * Host.patience }
  end

  it("tells the problems of every campaign in one run, and goes on behind each", function()
    local result = check {
      first = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x", act = function() end }',
      second = RIGHT,
      third = { ["rule.lua"] = RIGHT, ["broken.html"] = "{{#open}}" },
      fourth = "local = 5",
    }
    assert.equal(1, result.status)
    for _, place in ipairs { "first/rule.lua:2:", "third/broken.html:1:", "fourth/rule.lua:1:" } do
      assert.truthy(result.err:find("rules/" .. place, 1, true), place .. " is not in: " .. result.err)
    end
    assert.falsy(result.err:find("second", 1, true), result.err)
  end)

  it("tells of one campaign alone what concerns it, by its name, its folder or a file of it", function()
    local rules = {
      first = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x", act = function() end }',
      second = RIGHT, third = "local = 5", third_too = "local = 6",
    }
    for _, word in ipairs { "third", directory .. "/rules/third", directory .. "/rules/third/rule.lua" } do
      local result = check(rules, word)
      assert.equal(1, result.status)
      assert.truthy(result.err:find("rules/third/rule.lua:1:", 1, true), result.err)
      assert.falsy(result.err:find("first", 1, true) or result.err:find("third_too", 1, true), result.err)
      assert.truthy(result.out:find("1 campaign, 1 error, 0 warnings\n%d elsewhere: `kairos check` shows all"), result.out)
    end
    assert.equal(0, check(rules, "second").status)
    local none = check(rules, "secnd")
    assert.equal(3, none.status)
    assert.truthy(none.err:find("there is no campaign `secnd` in ", 1, true), none.err)
    assert.truthy(none.err:find("did you mean `second`?", 1, true), none.err)
  end)

  it("says which secret is missing, and reads the campaigns by the rest of the configuration", function()
    files.write(directory .. "/kairos.yaml", [[
purposes:
  - name: digest
providers:
  - name: crm
    type: webhook
    url: https://crm.example/
    secret_env: KAIROS_SPEC_UNSET
]])
    local result = check({ news = { ["rule.lua"] = [[
local kairos = require "kairos"
return kairos.rule { on = "x", act = function(_, user)
  user:send { channel = "email", template = "hello", purpose = "digest", cap = "1/1d" }
end }
]], ["hello.txt"] = "---\nsubject: hello\n---\nhello" } }, "--config", directory .. "/kairos.yaml")
    assert.equal(1, result.status)
    assert.equal(directory .. "/kairos.yaml:7:17: error: providers[0].secret_env: the environment variable "
      .. "KAIROS_SPEC_UNSET is not set\n", result.err:gsub("\n .*$", "\n") .. "")
    assert.equal("1 campaign, 1 error, 0 warnings\n", result.out)
  end)

  it("is silent about what may well be meant", function()
    local result = check { right = { ["rule.lua"] = [[
local kairos = require "kairos"
local function told(event) return { payload = event.payload, user = { tier = "gold" } } end
return kairos.rule {
  on = "order.completed",
  act = function(event, user)
    user:set("nick", event.payload.nick or "you")
    user:set("greeting", "Dear " .. user.nick)
    if event.payload.size > "m" then user:set("size", "large") end
    for _, item in ipairs(event.payload.items) do user:set(item.sku, true) end
    user:send { channel = "email", template = "hello", purpose = "marketing", cap = "3/7d", data = told(event) }
    user:at(kairos.date.next("1st 09:00", "Europe/Berlin"), { name = "later" })
  end,
  timers = { later = function(_, user) user:set("later", true) end },
}
]], ["hello.html"] = "---\nsubject: Hello\n---\n{{payload.total}} {{user.tier}}" } }
    assert.equal("1 campaign, no problems\n", result.out .. result.err)
  end)

  it("is silent about journeys, segments, fan-outs and experiments as they may well be, with schemas too", function()
    local SEND = 'channel = "email", template = %s, data = %s, purpose = "marketing", cap = "3/7d"'
    local result = check {
      schemas = { ["cart.updated.json"] = '{"properties":{"total":{}, "items":{}},"additionalProperties":false}',
        ["order.completed.json"] = '{"properties":{"sku":{}},"additionalProperties":false}',
        ["price.dropped.json"] = '{"properties":{"sku":{}},"additionalProperties":false}' },
      conversation = { ["rule.lua"] = ([[
local kairos = require "kairos"
local segment = kairos.segment
local orders = kairos.window { of = "order.completed", over = "30d" }
local watchers = kairos.interest { name = "watchers", of = { "cart.updated" }, over = "30d" }
local tone = kairos.experiment { name = "tone", variants = { kind = 2, brisk = 1 }, choose = "thompson",
  goal = { on = "order.completed", within = "7d", where = function(event, exposure)
    return event.payload.sku ~= nil and exposure.variant ~= "*holdout"
  end } }
local function remind(journey, data)
  journey:wait("1d", { late = "exit", late_after = "12h" })
  return journey:send { #mail }
end
return {
  segment { name = "buyers", member = function(user)
    return user:count(orders) >= 3 or user.trial_ends and not segment.reached(user.trial_ends)
  end },
  segment { name = "buyers_too", reads = { "buyers" }, sticky = "1d", member = function(user) return user:in_segment "buyers" end },
  kairos.rule { name = "greets", on = { segment.entered "buyers", "segment.left" }, act = function(event, user)
    user:set("since", event.payload.since)
    user:emit { type = "customer.greeted", payload = { how = "warmly" } }
  end },
  kairos.rule { name = "hears", on = "customer.greeted", act = function(event, user) user:set("how", event.payload.how) end },
  kairos.rule { name = "drops", on = "price.dropped", for_each = segment.members "buyers", pace = "10/s", expires_in = "1h",
    when = function(event, user) return user.sku == event.payload.sku end,
    act = function(event, user) user:set("told", event.payload.sku .. user.id) end },
  kairos.journey {
    name = "talks", again = "parallel", flight = function(_, step) return step end, late = "skip", late_after = "2h",
    start = { on = "cart.updated", when = function(event, user) return event.payload.total > 3 and user:consents "marketing" end },
    exit = { { on = "order.completed", where = function(event) return event.payload.sku == "X" end },
      { on = segment.left "buyers" } },
    goal = { on = "order.completed", within = "3d", where = function(event) return event.type == "order.completed" end },
    run = function(journey, user, event)
      local side = journey:split { name = "side", kind = 1, brisk = 2, plain = 0 }
      journey:send { #side }
      for round = 1, 3 do
        local sent, why = remind(journey, { total = event.payload.total, round = round })
        if not sent and why == "cap" then journey:wait_until "next weekday 09:00 Europe/Berlin" end
      end
      local got = journey:wait_for { on = { "order.completed", "cart.updated" }, within = "1d" }
      if got and got.type == "order.completed" then journey:set("bought", got.payload.sku) end
      while user:count(orders) == 0 do
        journey:wait "7d"
        if (journey.state or 0) > 5 then return end
      end
      if user:variant(tone) == "brisk" then journey:goal "brisk" end
      journey:send { #choice }
      while true do
        journey:wait_for { on = "order.completed" }
        journey:emit { type = "customer.greeted" }
        journey:continue((journey.state or 0) + 1)
      end
    end,
  },
  kairos.journey { name = "for_each", start = { on = "price.dropped", for_each = watchers:of() }, run = function(journey)
    repeat
      local event = journey:wait_for { on = "cart.updated", within = "1h" }
      journey:set("total", event and event.payload.total or 0)
    until not event
  end },
}
]]):gsub("#mail", SEND:format('"hello"', "data")):gsub("#side", SEND:format("side", "event.payload"))
        :gsub("#choice", SEND:format('user:count(orders) > 0 and "kind" or "hello"', "{}")),
        ["hello.html"] = "---\nsubject: Hello\n---\n{{total}} {{round}}", ["kind.html"] = "---\nsubject: Hello\n---\n{{total}}",
        ["brisk.html"] = "---\nsubject: Hello\n---\n{{total}}", ["plain.html"] = "---\nsubject: Hello\n---\nx" },
    }
    assert.equal("1 campaign, no problems\n", result.out .. result.err)
  end)

  it("takes the .json templates that render to JSON, and the pieces that they are made of", function()
    local send = [[
local kairos = require "kairos"
return kairos.rule { on = "x", act = function(_, user)
  user:send { channel = "push", template = "whole", purpose = "marketing", cap = "3/7d",
    data = { items = {}, last = 1, tag = "t" } }
end }
]]
    local result = check {
      right = { ["rule.lua"] = send, ["whole.json"] = [[
---
title: '{{tag}}, and a "'
---
{"tag": "{{tag}} \\ {{{tag}}} \"{{tag}}", {{! a comment, }} "last": {{last}}, {{#tag}}"a": {{last}}{{/tag}}{{^tag}}"b": 1{{/tag}},
 "ümlaut": [{{#items}}{"text": "{{#tag}}, {{/tag}}}"}{{/items}}]}
]] },
      pieces = { ["rule.lua"] = send, ["whole.json"] = '{"a": 1{{> more}}}', ["more.json"] = ', "b": 2' },
      shared = { ["piece.json"] = ', "c": 3' },
      third = { ["rule.lua"] = send, ["whole.json"] = '{"a": 1{{> piece}}}' },
    }
    assert.equal("3 campaigns, no problems\n", result.out .. result.err)
  end)

  it("shows nothing that steers a terminal: not of a line, nor of a file's name", function()
    local steering = { "\27", "\127", "\194\155", "\226\128\174", "\226\129\166" }
    local text = table.concat(steering)
    local result = check { ["bad"] = { ["rule.lua"] = 'local s = "é' .. text .. '"; local b == 1\n' .. RIGHT,
      ["a" .. text .. ".html"] = "{{#open}}" } }
    assert.equal(1, result.status)
    assert.truthy(result.err:find('local s = "é....."; local b == 1\n', 1, true), result.err)
    assert.truthy(result.err:find([[bad/a\x1b\x7f\xc2\x9b\xe2\x80\xae\xe2\x81\xa6.html:1:]], 1, true), result.err)
    for _, bytes in ipairs(steering) do assert.falsy((result.out .. result.err):find(bytes, 1, true)) end
  end)

  describe("meets", function()
    local function lines(text, count) return (text .. "\n"):rep(count) end
    local HEAD = 'local kairos = require "kairos"\n'
    -- What a folder may hold, and what is said of it; "" where nothing is wrong.
    for what, case in pairs {
      ["a rule of nearly 1 MB"] = {
        HEAD .. lines("do local _ = { 1, 2, 3, 4, 5, 6, 7, 8, 'and so on' } end", 18000) .. RIGHT:match "\n(.*)", "" },
      ["a rule of more than 1 MB"] = { HEAD .. lines("-- a comment", 100000), "rule.lua: error: is larger than 1 MB" },
      ["a line of half a megabyte"] = { HEAD .. "local _ = {" .. ("'x',"):rep(120000) .. "}\n" .. RIGHT:match "\n(.*)", "" },
      ["forty thousand unknown names"] = { HEAD .. lines("unknown()", 40000), "there are more problems in this file" },
      ["brackets in brackets"] = { HEAD .. "local _ = " .. ("("):rep(50000) .. "1" .. (")"):rep(50000), "rule.lua:2:1: error: " },
      ["functions in functions"] = { HEAD .. ("local _ = function() "):rep(300) .. ("end "):rep(300) .. "\n", "rule.lua" },
      ["bytes that are no UTF-8"] = { HEAD .. 'local _ = "\255\254"\nlocal b == "\200"\n', "rule.lua:3:9: error: `==` compares" },
      ["compiled Lua"] = { "\27LJ\2\n", "rule.lua:1:1: error: this is compiled Lua; rules are text" },
      ["something binary"] = { ("\0\1\255"):rep(1000), "rule.lua:1:1: error: this is no text" },
      ["nothing"] = { "", "rule.lua:1:1: error: the file returns no rule" },
      ["a text that never ends"] = { HEAD .. "local s = [[" .. lines("x", 50000),
        "rule.lua:2:11: error: what begins here is not closed" },
    } do
      it(what, function()
        local result = check { suspect = case[1] }
        local said = result.out .. result.err
        assert.equal(case[2] == "" and 0 or 1, result.status, said:sub(1, 2000))
        assert.truthy(said:find(case[2], 1, true), said:sub(1, 2000))
        assert.is_true(#said < 64 * 1024, "it says " .. #said .. " bytes")
      end)
    end

    it("a FIFO, a folder and a link that leads nowhere in a rule's place", function()
      for _, folder in ipairs { "fifo", "folder", "link" } do files.make(directory .. "/rules/" .. folder) end
      process.shell(("mkfifo %s/rules/fifo/rule.lua"):format(directory))
      files.make(directory .. "/rules/folder/rule.lua")
      process.shell(("ln -s rule.lua %s/rules/link/rule.lua"):format(directory))
      local result = check { right = RIGHT }
      assert.equal(1, result.status)
      for _, said in ipairs { "rules/fifo/rule.lua: error: is no file", "rules/folder/rule.lua: error: is no file",
        "rules/link/rule.lua: error: cannot be opened", "1 campaign, 3 errors" } do
        assert.truthy((result.err .. result.out):find(said, 1, true), said .. " is not in: " .. result.err)
      end
    end)

    it("a template of a thousand sections and one long line", function()
      local result = check { suspect = { ["rule.lua"] = RIGHT, ["a.html"] = ("{{#a}}"):rep(20000),
        ["b.html"] = ("{{b}} {{{c}}}"):rep(20000) } }
      assert.equal(1, result.status)
      assert.truthy(result.err:find("a.html:1:", 1, true), result.err)
    end)
  end)

  describe("agrees", function()
    --- The fields that the host itself takes, as its error lists them.
    local function taken(what, rule)
      files.write(directory .. "/rules/probe/rule.lua", rule)
      files.write(directory .. "/events",
        '{"event_id":"e","event_type":"x","user_id":"a","timestamp":1700000000000,"payload":{}}\n')
      local result = process.run {
        command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events", directory .. "/events" },
        seconds = 20 * Host.patience,
      }
      local list = result.err:match(what .. " has no field `zzz`; there are: ([%w_, ]+)")
      assert.is_string(list, result.err)
      local names = {}
      for name in list:gmatch "[%w_]+" do names[#names + 1] = name end
      table.sort(names)
      return names
    end

    local function annotated(class)
      local texts = {}
      for _, name in ipairs { "meta/host", "meta/journey", "kairos/check", "kairos/rule", "kairos/journey", "kairos/segment",
        "kairos/window", "kairos/throttle", "kairos/needs", "kairos/experiment", "kairos/interest" } do
        local path = ("lua/%s.lua"):format(name)
        texts[path] = files.read(path)
      end
      local names = {}
      for name in pairs(require("review.annotations").read(texts).classes[class].fields) do names[#names + 1] = name end
      table.sort(names)
      return names
    end

    local RULE = 'local kairos = require "kairos"\n%s\nreturn kairos.rule { on = "x", act = function(_, user) %s end }'
    local JOURNEY = [[return require("kairos").journey { %s start = { on = "x" %s }, run = function(journey) %s end }]]
    for class, case in pairs {
      ["kairos.JourneySpec"] = { "kairos.journey", 'return require("kairos").journey { zzz = 1 }' },
      ["kairos.JourneyStart"] = { "`start` of kairos.journey", JOURNEY:format("", ", zzz = 1", "") },
      ["kairos.JourneyExit"] = { "`exit` of kairos.journey", JOURNEY:format('exit = { on = "y", zzz = 1 },', "", "") },
      ["kairos.JourneyGoal"] = { "`goal` of kairos.journey", JOURNEY:format('goal = { on = "y", zzz = 1 },', "", "") },
      ["kairos.WaitSpec"] = { "journey:wait", JOURNEY:format("", "", 'journey:wait("1h", { zzz = 1 })') },
      ["kairos.WaitForSpec"] = { "journey:wait_for", JOURNEY:format("", "", 'journey:wait_for { zzz = 1 }') },
      ["kairos.RuleSpec"] = { "kairos.rule", 'return require("kairos").rule { zzz = 1 }' },
      ["kairos.WindowSpec"] = { "kairos.window", RULE:format("kairos.window { zzz = 1 }", "") },
      ["kairos.ThrottleSpec"] = { "kairos.throttle", RULE:format("kairos.throttle { zzz = 1 }", "") },
      ["kairos.NeedsSpec"] = { "kairos.needs", RULE:format("kairos.needs { zzz = 1 }", "") },
      ["kairos.SegmentSpec"] = { "kairos.segment", 'return require("kairos").segment { zzz = 1 }' },
      ["kairos.ExperimentSpec"] = { "kairos.experiment", RULE:format("kairos.experiment { zzz = 1 }", "") },
      ["kairos.GoalSpec"] = { "goal of kairos.experiment",
        RULE:format('kairos.experiment { name = "x", variants = { "a", "b" }, goal = { zzz = 1 } }', "") },
      ["kairos.InterestSpec"] = { "kairos.interest", RULE:format("kairos.interest { zzz = 1 }", "") },
      ["kairos.EmitSpec"] = { "user:emit", RULE:format("", "user:emit { zzz = 1 }") },
      ["kairos.SendSpec"] = { "user:send", RULE:format("", "user:send { zzz = 1 }") },
      ["kairos.TimerSpec"] = { "user:after", RULE:format("", 'user:after("1h", { zzz = 1 })') },
    } do
      it("with the host on the fields of " .. case[1], function()
        assert.same(taken(case[1], case[2]), annotated(class))
      end)
    end

    it("with luacheck's standard for rule files on every name of Lua", function()
      local lines = { 'local kairos = require "kairos"' }
      local names = {}
      for name, value in pairs(_G) do
        if name ~= "_G" and name:find "^%l+$" then names[#names + 1] = name end
        for field in pairs(type(value) == "table" and package.loaded[name] == value and value or {}) do
          if (name == "string" or name == "table" or name == "math") then names[#names + 1] = name .. "." .. field end
        end
      end
      assert.is_true(#names > 60)
      for _, name in ipairs(names) do lines[#lines + 1] = "local _ = " .. name end
      lines[#lines + 1] = 'return kairos.rule { on = "x", act = function(_, user) user:set("x", 1) end }'
      local result = check({ probe = table.concat(lines, "\n") }, "--json")
      local refused, flagged = {}, {}
      for _, problem in ipairs(cjson.decode(result.out).problems) do
        if problem.severity == "error" then refused[lines[problem.line]] = true end
      end
      files.write(directory .. "/luacheckrc", ('std = dofile "lua/luacheck/kairos.lua"\nignore = { "211", "4" }\n'))
      local said = process.run { command = { "luacheck", "--config", directory .. "/luacheckrc", "--formatter", "plain",
        directory .. "/rules/probe/rule.lua" }, seconds = 20 * Host.patience }
      for line in said.out:gmatch ":(%d+):%d+: accessing undefined" do flagged[lines[tonumber(line)]] = true end
      assert.truthy(next(flagged), said.out .. said.err)
      assert.same(flagged, refused)
    end)
  end)

  describe("with schemas", function()
    local RULE = [[
local kairos = require "kairos"
local views = kairos.window { of = "product.veiwed", over = "1d" }
return kairos.rule {
  on = { "order.completed" },
  when = function(event, user) return event.payload.totla > 3 and user:count(views) > 1 end,
  act = function(event, user)
    user:send { channel = "email", purpose = "marketing", template = "hello", data = event.payload, once_per = "1d" }
  end,
}
]]
    local SCHEMAS = {
      ["order.completed.json"] = '{"properties":{"total":{"type":"number"},"currency":{"type":"string"}}}',
      ["product.viewed.json"] = '{"properties":{"sku":{"type":"string"}}}',
      ["identify.json"] = '{"properties":{"first_name":{"type":"string"}}}',
    }

    it("measures types, fields and the variables of templates by them", function()
      local result = check { schemas = SCHEMAS, suspect = { ["rule.lua"] = RULE,
        ["hello.html"] = "---\nsubject: Hello\n---\n"
          .. "Hello {{first_name}}: {{total}} {{curency}} {{#gift}}{{gift}}{{/gift}} {{nothing}}" } }
      assert.equal(0, result.status, result.err)
      local said = {}
      for line in result.err:gmatch "[^\n]+" do
        if not line:find "^ " then said[#said + 1] = (line:gsub("/[%w_/]+/rules/suspect/", "")) end
      end
      assert.same({
        "hello.html:4:35: warning: nothing provides `curency`: neither the data of rule.lua:7 nor the profile; write {{currency}}",
        "hello.html:4:74: warning: nothing provides `nothing`: neither the data of rule.lua:7 nor the profile; add it to data, "
          .. "or write {{#nothing}}…{{/nothing}} around it",
        'rule.lua:2:36: warning: no schema describes events of type "product.veiwed"; write "product.viewed"',
        "rule.lua:5:53: warning: no schema of these events has `totla`; write total",
      }, said)
    end)

    it("says which schema is no JSON", function()
      local result = check { schemas = { ["order.completed.json"] = '{"properties":' }, suspect = RIGHT }
      assert.equal(1, result.status)
      assert.truthy(result.err:find("rules/schemas/order.completed.json: ", 1, true), result.err)
    end)
  end)

  it("follows what rules hand to their helpers, in other files too", function()
    local result = check {
      shared = { ["helpers.lua"] = [[
local kairos = require "kairos"
local helpers = { orders = kairos.window { of = "order.completed", over = "30d" } }
function helpers.loyal(user)
  user:set("asked", true)
  return user:coutn(helpers.orders) > 3
end
helpers.hello = function(u)
  u:send { channel = "email", template = "hello", purpose = "marketing", once_per = "1d" }
end
function helpers.of(what) return what.data end
return helpers
]] },
      first = { ["hello.txt"] = "---\nsubject: Hello\n---\nHello", ["rule.lua"] = [[
local kairos = require "kairos"
local helpers = require "shared.helpers"
local function act(event, user)
  user:after("1d", { name = "later", data = helpers.of(event) })
  helpers.hello(user)
  helpers.helo(user)
end
return kairos.rule {
  on = "order.completed",
  when = function(_, user) return helpers.loyal(user) end,
  act = act,
  timers = { later = function(timer, user) user:set("x", helpers.of(timer)) end },
}
]] },
      second = [[
local kairos = require "kairos"
local hello = require("shared.helpers").hello
return kairos.rule { name = "first", on = "order.completed", act = function(_, user) hello(user) end }
]],
    }
    local said = {}
    for line in result.err:gmatch "[^\n]+" do
      if not line:find "^ " then said[#said + 1] = (line:gsub("/[%w_/]+/rules/", "")) end
    end
    assert.same({
      "first/rule.lua:6:11: warning: shared/helpers.lua has no `helo`; write hello",
      "second/rule.lua:3:29: error: a rule named `first` is in first/rule.lua:8 already; give this one another name",
      "shared/helpers.lua:4:3: error: `when` only answers whether the rule acts; write user:set in act",
      "shared/helpers.lua:5:15: error: user has no `coutn`; write user:count",
      "shared/helpers.lua:8:42: error: there is no template `hello` in rules/second; write rules/second/hello.html",
    }, said)
  end)

  it("finds its manner again in what goes wrong while rules run: place, what is wrong, what to write", function()
    files.write(directory .. "/rules/late/rule.lua", [[
local kairos = require "kairos"
return kairos.rule { on = "x", act = function(event, user)
  user:set("next", event.payload.total + 1)
end }
]])
    files.write(directory .. "/events",
      '{"event_id":"e","event_type":"x","user_id":"a","timestamp":1700000000000,"payload":{}}\n')
    local result = process.run {
      command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events", directory .. "/events" },
      seconds = 20 * Host.patience,
    }
    assert.truthy(result.err:find("rules/late/rule.lua:3: attempt to perform arithmetic on field 'total' (a nil value); "
      .. "it is no number: write (… or 0), or tonumber(…)", 1, true), result.err)
  end)

  it("knows no campaign of ours that deserves a word", function()
    local result = process.run { command = { Host.binary, "check", "--strict" }, seconds = 60 * Host.patience }
    assert.equal(0, result.status, result.err)
    assert.equal("", result.err)
  end)

  it("fails on warnings only if asked to", function()
    local unused = RIGHT:gsub("return", "local unused = 1\nreturn")
    assert.equal(0, check({ suspect = unused }).status)
    assert.equal(1, check({}, "--strict").status)
  end)

  it("stops no rules by a mistake of its own", function()
    local library = directory .. "/lua"
    process.shell(("mkdir %s && cp -r lua/kairos lua/meta lua/review %s"):format(library, library))
    files.write(library .. "/review/rules.lua", 'return { review = function() error "broken" end }')
    files.write(directory .. "/kairos.yaml", ("library_dir: %s\n"):format(library))
    local result = check({ suspect = RIGHT }, "--config", directory .. "/kairos.yaml")
    assert.equal(0, result.status, result.err)
    assert.truthy(result.err:find("suspect/rule.lua: warning: the review itself failed here", 1, true), result.err)
    result = check({ other = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x" }' }, "--config",
      directory .. "/kairos.yaml")
    assert.equal(1, result.status)
    assert.truthy(result.err:find("other/rule.lua:2:", 1, true), result.err)
  end)

  it("says that luacheck is missing, and still what the host says", function()
    local library = directory .. "/lua"
    process.shell(("mkdir %s && cp -r lua/kairos lua/meta lua/review %s"):format(library, library))
    files.write(library .. "/luacheck/check_state.lua", 'error "not installed"\n')
    files.write(directory .. "/kairos.yaml", ("library_dir: %s\n"):format(library))
    local result = check({ suspect = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x" }' }, "--config",
      directory .. "/kairos.yaml")
    assert.equal(1, result.status)
    assert.truthy(result.err:find("lua-check", 1, true), result.err)
    assert.truthy(result.err:find("suspect/rule.lua:2:", 1, true), result.err)
  end)

  it("answers editors in JSON", function()
    local result = check({ first = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x" }' }, "--json")
    assert.equal(1, result.status)
    local answer = cjson.decode(result.out)
    assert.equal(#answer.problems, answer.errors + answer.warnings + answer.notes)
    local problem = answer.problems[1]
    assert.same({ "error", 2, 20, 21 }, { problem.severity, problem.line, problem.column, problem.end_column })
    assert.equal('return kairos.rule { onn = "x" }', problem.text)
  end)
end)
