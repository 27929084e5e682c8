-- Rule files by people who make mistakes; those who mean them are in hostile_spec.lua.
local Host = require "spec.functional.support.host"
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
