-- Rules by people who make mistakes, and by people who mean them: each is stopped alone.
local Host = require "spec.functional.support.host"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local socket = require "socket"

local function rule(name, on, act)
  return ([[
local kairos = require "kairos"
return kairos.rule {
  name = "%s",
  on = "%s",
  act = function(event, user)
    %s
  end,
}
]]):format(name, on, act)
end

-- Line 6 of each rule is the first of its act.
local attacks = {
  loops_for_ever = "while true do end",
  counts_for_ever = "local n = 0 repeat n = n + 1 until false",
  eats_memory = "local t = {} while true do t[#t + 1] = { #t } end",
  makes_a_string_of_a_gigabyte = 'local s = ("x"):rep(2 ^ 30) user:set("s", #s)',
  doubles_a_string = 'local s = "x" while true do s = s .. s end',
  repeats_repeats = 'local s = ("x"):rep(1e6, ("y"):rep(1e6))',
  bombs_patterns = 'local s = ("a"):rep(50000) return s:find(("a*"):rep(20) .. "b")',
  bombs_gsub = 'return (("x"):rep(100000)):gsub(".-.-.-.-b", "%0%0")',
  calls_gsub_in_gsub = 'local function f(s) return (s:gsub(".", f)) end f("abc")',
  recurses = "local function f(n) return 1 + f(n + 1) end return f(1)",
  recurses_in_metatables = 'local t = setmetatable({}, { __index = function(s, k) return s[k .. "x"] end }) return t.x',
  throws_a_table = 'error({ code = 7 })',
  throws_nil = "error(nil)",
  throws_something_that_fails_to_print = 'error(setmetatable({}, { __tostring = function() while true do end end }))',
  swallows_the_budget = "while true do pcall(function() while true do end end) end",
  swallows_memory = 'while true do pcall(function() local s = "x" while true do s = s .. s end end) end',
  sorts_for_ever = "local t = {} for i = 1, 50000 do t[i] = i end table.sort(t, function() while true do end end)",
  concatenates_a_lot = 'local t = {} for i = 1, 200 do t[i] = ("x"):rep(100000) end while true do local s = table.concat(t) end',
  formats_a_lot = 'return ("%99d"):rep(10000):format(1)',
  sets_too_much = 'for i = 1, 10000 do user:set("name" .. i, ("x"):rep(1000)) end',
  sends_without_end = 'while true do user:send { channel = "push", template = "said", data = {} } end',
  names_no_such_template = 'user:send { channel = "push", template = event.payload.rule, data = {} }',
  names_no_such_channel = 'user:send { channel = event.payload.rule, template = "said", data = {} }',
  calls_what_is_not_there = "user:explode()",
  writes_to_the_event = "event.payload.total = 7",
}

describe("a rule that", function()
  local host
  setup(function()
    local rules = {
      zz_neighbour = rule("zz_neighbour", "attack", [[
        user:send { channel = "push", template = "said", data = { text = "neighbour " .. event.payload.rule } }]]),
      aa_bystander = rule("aa_bystander", "innocent", [[
        user:send { channel = "push", template = "said", data = { text = "fine" } }]]),
    }
    for name, act in pairs(attacks) do
      rules[name] = rule(name, "attack", ('if event.payload.rule == "%s" then %s end'):format(name, act))
    end
    -- Effects made before the failure must not survive.
    for _, name in ipairs { "loops_for_ever", "throws_a_table" } do
      rules[name] = rule(name, "attack", ([[if event.payload.rule == "%s" then
        user:set("tainted", true) user:once("tainted", "1d") user:after("10ms", { name = "late" })
        user:send { channel = "push", template = "said", data = { text = "tainted" } } %s end]]):format(name, attacks[name]))
        :gsub("\n}", "\n  timers = { late = function(_, user) user:send { channel = 'push', template = 'said',"
        .. " data = { text = 'tainted' } } end },\n}")
    end
    host = Host.start { rules = rules, config = { workers = 1 } }
  end)
  teardown(function() host:remove() end)

  for name in pairs(attacks) do
    it((name:gsub("_", " ")) .. " is stopped alone, and named", function()
      local user = "victim-" .. name
      local link, other = host:connect(), host:connect()
      local attack = http.request_bytes {
        body = Host.json(Host.event { type = "attack", user = user, payload = { rule = name } }),
      }
      local innocent = http.request_bytes { body = Host.json(Host.event { type = "innocent", user = "bystander-" .. name }) }
      link:send(attack)
      other:send(innocent)
      local began = socket.gettime()
      assert.equal(202, other:answer().status)
      local stalled = socket.gettime() - began
      assert.equal(202, link:answer().status)
      -- 20 ms of budget, with room for a busy machine.
      assert.is_true(stalled < 0.5 * Host.patience, ("another user's event waited %.0f ms"):format(stalled * 1000))

      assert.same({ "fine" }, host:said("bystander-" .. name))
      assert.same({ "neighbour " .. name }, host:said(user))

      local letter
      for _, listed in ipairs(host:dead()) do
        if listed.campaign == name then letter = listed end
      end
      assert.truthy(letter, "no dead letter names it")
      assert.equal(user, letter.user)
      letter = host:ask("dead", "show", letter.id)
      assert.equal(name .. "/rule.lua", letter.rule)
      assert.truthy(letter.error:find(name .. "/rule.lua:[678]"), letter.error)
      assert.truthy(letter.error:find "traceback", letter.error)
      assert.equal(1, letter.generation)
    end)
  end

  it("failed has left nothing behind", function()
    local shown = host:command("user", "victim-loops_for_ever").out .. host:command("user", "victim-throws_a_table").out
    assert.falsy(shown:find "tainted")
    socket.sleep(0.1)
    for _, message in ipairs(host:messages()) do assert.not_equal("tainted", message.body) end
  end)

  it("fails does not wear the host out", function()
    for round = 1, 20 do
      local list = {}
      for index = 1, 5 do
        list[index] = Host.event { type = "attack", user = "worn-" .. index, payload = { rule = "eats_memory" } }
      end
      assert.equal(202, host:post(list).status, "round " .. round)
    end
    host:accept { type = "innocent", user = "after-all" }
    assert.same({ "fine" }, host:said "after-all")
  end)
end)

describe("a rule file", function()
  local host
  before_each(function() host = Host.new() end)
  after_each(function() host:remove() end)
  local files = require "spec.functional.support.files"

  local function check(text, campaign)
    files.write(host.rules .. "/" .. (campaign or "suspect") .. "/rule.lua", text)
    files.write(host.rules .. "/" .. (campaign or "suspect") .. "/said.txt", "{{{text}}}")
    local began = socket.gettime()
    local result = host:command "check"
    assert.is_true(socket.gettime() - began < 10 * Host.patience)
    return result
  end

  it("that is right passes", function()
    local result = check(rule("suspect", "x", 'user:send { channel = "push", template = "said", data = { text = "y" } }'))
    assert.equal(0, result.status, result.out .. result.err)
  end)

  for what, line in pairs {
    ["reads files"] = 'local f = io.open("/etc/passwd")',
    ["runs programs"] = 'os.execute("true")',
    ["loads code"] = 'load("return 1")()',
    ["loads text"] = 'loadstring("return 1")()',
    ["loads files"] = 'dofile("/etc/passwd")',
    ["asks for ffi"] = 'require "ffi"',
    ["asks for jit"] = 'require("jit").on()',
    ["asks for debug"] = "debug.getregistry()",
    ["dumps bytecode"] = "string.dump(function() end)",
    ["looks at environments"] = "getfenv(0)",
    ["steers the collector"] = 'collectgarbage("stop")',
    ["makes proxies"] = "newproxy(true)",
    ["reaches into packages"] = "package.loaded.kairos = nil",
    ["changes the strings of all"] = 'getmetatable("").__index = nil',
    ["makes coroutines"] = "coroutine.wrap(function() end)()",
    ["reads a global"] = "local x = leaked",
    ["sends on no such channel"] = 'local f = function(user) user:send { channel = "pigeon", template = "said" } end',
    ["sends no such template"] = 'local f = function(user) user:send { channel = "push", template = "no_such" } end',
    ["requires what is not the library"] = 'require "socket"',
    ["loops while it loads"] = "while true do end",
    ["eats memory while it loads"] = 'local s = "x" while true do s = s .. s end',
    ["does not parse"] = "local = 5",
    ["fails while it loads"] = 'error "on purpose"',
  } do
    it("that " .. what .. " is refused with its file and line", function()
      local result = check(('local kairos = require "kairos"\n%s\n'):format(line)
        .. 'return kairos.rule { name = "suspect", on = "x", act = function() end }')
      assert.not_equal(0, result.status)
      assert.truthy((result.out .. result.err):find("suspect/rule.lua:2", 1, true), result.out .. result.err)
    end)
  end

  it("that is bytecode is refused", function()
    local bytecode = process.shell "luajit -b -e 'return 1' - 2>/dev/null || printf '\\033LJ\\002\\n'"
    local result = check(bytecode)
    assert.not_equal(0, result.status)
    assert.truthy((result.out .. result.err):find("suspect/rule.lua", 1, true))
  end)

  for what, text in pairs {
    ["misspells a field"] = 'return require("kairos").rule { name = "suspect", onn = "x", act = function() end }',
    ["has no act"] = 'return require("kairos").rule { name = "suspect", on = "x" }',
    ["has a bad duration"] = 'local w = require("kairos").window { of = "x", over = "10 parsecs" } return w',
    ["returns nothing"] = 'require "kairos"',
  } do
    it("that " .. what .. " is answered with its place", function()
      local result = check(text)
      assert.not_equal(0, result.status)
      assert.truthy((result.out .. result.err):find("suspect/rule.lua", 1, true), result.out .. result.err)
    end)
  end

  it("does not see another's globals, nor what it did to the library", function()
    check([[
      local kairos = require "kairos"
      pcall(function() string.leaked = true end)
      pcall(function() kairos.leaked = true end)
      pcall(function() math.leaked = true end)
      return kairos.rule { name = "first", on = "x", act = function() end }]], "first")
    check([[
      local kairos = require "kairos"
      return kairos.rule { name = "second", on = "x", act = function(event, user)
        user:send { channel = "push", template = "said", data = { text = table.concat({
          tostring(rawget(string, "leaked")), tostring(rawget(kairos, "leaked")), tostring(rawget(math, "leaked")) }, " ") } }
      end }]], "second")
    files.remove(host.rules .. "/suspect")
    host:run()
    host:accept { type = "x", user = "ada" }
    assert.same({ "nil nil nil" }, host:said "ada")
  end)

  it("cannot keep anything in its upvalues between events", function()
    check([[
      local kairos = require "kairos"
      local count = 0
      local kept = {}
      return kairos.rule { name = "suspect", on = "x", act = function(event, user)
        local ok = pcall(function() kept[#kept + 1] = event end)
        count = count + 1
        user:send { channel = "push", template = "said", data = { text = tostring(ok) .. count } }
      end }]])
    host:run()
    host:accept({ type = "x", user = "ada" }, { type = "x", user = "ada" })
    socket.sleep(0.2)
    for _, text in ipairs(host:said("ada", 0)) do assert.falsy(text:find "2") end
  end)

  it("gets the same answers from pairs and random, whenever the same event comes", function()
    check([[
      local kairos = require "kairos"
      return kairos.rule { name = "suspect", on = "x", act = function(event, user)
        local names = {}
        for name in pairs(event.payload) do names[#names + 1] = name end
        names[#names + 1] = math.random(1000000)
        user:send { channel = "push", template = "said", data = { text = table.concat(names, ",") } }
      end }]])
    host:run()
    local payload = {}
    for index = 1, 30 do payload["key" .. index * 7919] = index end
    host:accept { id = "fixed", type = "x", user = "ada", payload = payload }
    local live = host:said "ada"
    local once = Host.new { rules = {} }
    finally(function() once:remove() end)
    process.shell(("cp -r %s/. %s/"):format(host.rules, once.rules))
    once:run()
    once:accept { id = "fixed", type = "x", user = "ada", payload = payload }
    assert.same(live, once:said "ada")
  end)
end)
