-- A session by somebody who means harm, or does not know what he asks: it ends, alone, and events never notice.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"

local RULE = [[
  local kairos = require "kairos"
  local greeting = { text = "hello" }
  return kairos.rule { name = "greet", on = "hello", act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = greeting.text .. ("!"):rep(2) } }
  end }
]]

--- What must fail, and what it says.
local ATTACKS = {
  { "an endless loop", "while true do end", "used up its 1 s of processor time" },
  { "a loop that swallows its end", "while true do pcall(function() while true do end end) end", "processor time" },
  { "a loop in a metamethod", "return setmetatable({}, { __index = function() while true do end end }).x", "processor time" },
  { "a sort that never answers", "table.sort({ 1, 2, 3 }, function() while true do end end)", "took too long" },
  { "a replacement that never comes", "return ('x'):gsub('x', function() while true do end end)", "took too long" },
  { "a pattern that backtracks", "return (('a'):rep(30000)):find(('a?'):rep(30) .. ('a'):rep(30) .. '.-b')", "budget" },
  { "a text of a gigabyte", "return ('x'):rep(1e9)", "" },
  { "a text that doubles", "local s = 'x' while true do s = s .. s end", "more memory" },
  { "a table without end", "local t = {} for i = 1, 1e9 do t[i] = { i } end", "more memory" },
  { "memory's end, swallowed", "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end", "" },
  { "recursion without end", "local function f() return 1 + f() end return f()", "stack overflow" },
  { "a metamethod that calls itself", "local t t = setmetatable({}, { __index = function(_, k) return t[k + 1] end }) return t[1]",
    "stack overflow" },
  { "a coroutine", "return coroutine.wrap(function() while true do end end)()", "coroutine" },
  { "a finalizer", "return newproxy(true)", "newproxy" },
  { "code out of text", "return loadstring('while true do end')()", "loadstring" },
  { "a file", "return io.open('/etc/passwd')", "io" },
  { "the clock of the machine", "return os.time()", "os" },
  { "a look at the host", "return debug.getregistry()", "debug" },
  { "the FFI", "return require('ffi')", "require" },
  { "a number of the FFI's", "return 1LL", "plain number" },
  { "an environment", "return getfenv(0)", "getfenv" },
  { "compiled code", "return string.dump(print)", "dump" },
  { "the table of strings", "getmetatable('').__index.rep = nil", "index" },
  { "an unbalanced pattern", "return ('x'):find('%')", "malformed pattern" },
  { "an error that is no text", "error(setmetatable({}, { __tostring = function() while true do end end }))", "not text" },
  { "a question within a sort", "table.sort({ 2, 1 }, function() return user('ada') end)", "cannot be asked" },
  { "a question that loops", "user(setmetatable({}, { __index = function() while true do end end }))", "takes an id" },
}

--- What is answered, cut or not.
local LARGE = {
  { "a list without a natural end", "local t = {} for i = 1, 50000 do t[i] = i end return t" },
  { "long texts in lists in lists", [[local t = {} for i = 1, 100 do t[i] = {} for j = 1, 100 do
      t[i][j] = i .. ('x'):rep(600) end end return t]] },
  { "much printed", "for i = 1, 1e5 do print(('x'):rep(1000)) end" },
  { "a table of itself", "local t = {} for i = 1, 100 do t[i] = t end return t" },
  { "a finalizer that never runs", "for i = 1, 20000 do setmetatable({}, { __gc = function() while true do end end }) end" },
  { "tables deep in tables", "local t = {} for i = 1, 2e4 do t = { t } end return t" },
  { "control characters", "return ('\\27[2J\\7\\0'):rep(100)" },
}

describe("a session that means harm", function()
  local host, sent
  setup(function()
    host = Host.start { rules = { greet = RULE }, config = { workers = 1 } }
    sent = 0
  end)
  teardown(function() host:remove() end)

  local function event_is_answered()
    host:accept { type = "hello", user = "u" .. sent }
    sent = sent + 1
  end

  --- Run code while events come in. @return its answer
  local function run_amid_events(session, code)
    session:send { id = 1, run = code }
    session.socket:settimeout(0.05)
    for turn = 1, 2000 * host.patience do
      local answer, problem = session:receive()
      if answer then
        session.socket:settimeout(30 * host.patience)
        return answer
      end
      assert.equal("timeout", problem)
      if turn <= 5 then event_is_answered() end -- while events come, a session gets an eleventh: not for all of its second
    end
    error "it was never answered"
  end

  for _, attack in ipairs(ATTACKS) do
    it("is ended: " .. attack[1], function()
      local session = look.session(host)
      local answer = run_amid_events(session, attack[2])
      assert.equal("failed", answer.state)
      assert.truthy(answer.error:find(attack[3], 1, true), answer.error)
      assert.equal("2\n", session:run("1 + 1").output)
      session:close()
    end)
  end

  for _, large in ipairs(LARGE) do
    it("is cut short: " .. large[1], function()
      local session = look.session(host)
      local answer = run_amid_events(session, large[2])
      assert.equal("done", answer.state)
      assert.truthy(#answer.output < 200000, #answer.output)
      assert.falsy(answer.output:find "[%z\1-\8\11-\31]")
      assert.equal("2\n", session:run("1 + 1").output)
      session:close()
    end)
  end

  it("does not reach a rule's state, nor what another session has", function()
    local session, other = look.session(host), look.session(host)
    session:run "string.rep = nil; greeting = { text = 'hacked' }; table.insert = nil"
    session:run "for k in pairs(_G or {}) do _G[k] = nil end"
    session:run "tostring, pairs, user = nil"
    assert.equal("done", other:run("('x'):rep(2), user").state)
    assert.equal('"xx"\n', session:run("('x'):rep(2)").output)
    host:accept { type = "hello", user = "clean" }
    assert.same({ "hello!!" }, host:said("clean", 1))
    session:close()
    other:close()
  end)

  it("is ended by its client, who goes on; and with him, when he goes", function()
    local session = look.session(host)
    session:send { id = 1, run = "x = 0 while true do x = x + 1 end" }
    session:send { cancel = true }
    assert.equal("cancelled", session:receive().state)
    assert.equal("done", session:run("x").state)
    session:send { id = 2, run = "while true do end" }
    session:send { id = 3, run = "1" }
    local busy = session:receive()
    assert.equal("busy", busy.state)
    assert.equal(3, busy.id)
    assert.equal(2, session:receive().id)
    for _ = 1, 20 do -- more than there may be at once: each ends with its connection
      local gone
      assert.truthy(process.eventually(20 * host.patience, function()
        local answer
        gone, answer = look.connect(host, { command = "repl" })
        if not answer.ok then gone:close() end
        return answer.ok
      end))
      gone:send { id = 1, run = "while true do end" }
      gone:close()
      event_is_answered()
    end
    session:close()
  end)

  it("lets events pass while it runs, not when it has ended", function()
    local loops = {}
    for index = 1, 3 do
      loops[index] = look.session(host)
      loops[index]:send { id = 1, run = "while true do end" }
    end
    for _ = 1, 5 do event_is_answered() end
    for _, loop in ipairs(loops) do
      loop:send { cancel = true }
      assert.equal("cancelled", loop:receive().state) -- it would have failed by itself, had the events waited for it
      loop:close()
    end
  end)

  it("is left where it is when the host stops in order", function()
    for round = 1, 3 do
      local stopping = Host.start { rules = { greet = RULE } }
      local sessions = {}
      for index = 1, 6 do sessions[index] = look.session(stopping) end
      for index = 1, 20 do stopping:accept { type = "hello", user = "ada" .. index } end
      sessions[1]:send { id = 1, run = "while true do end" }
      sessions[2]:send { id = 1, run = "while true do user('ada1'):events() end" }
      sessions[3]:send { id = 1, run = "while true do user('ada2'):replay() end" }
      sessions[4]:send { id = 1, run = "while true do try { type = 'hello', user = 'ada3' } end" }
      sessions[5]:send { id = 1, run = "while true do campaigns() queues() end" }
      local tail = look.connect(stopping, { command = "tail" })
      if round == 2 then sessions[3]:close() end
      assert.equal(0, stopping:stop())
      assert.falsy(stopping:output():find "commands under way")
      for _, session in ipairs(sessions) do session:close() end
      tail:close()
      stopping:remove()
    end
  end)

  it("is one of 8, and the others are told", function()
    local sessions = {}
    local refused
    assert.truthy(process.eventually(20 * host.patience, function()
      for index = #sessions + 1, 9 do
        local session, answer = look.connect(host, { command = "repl" })
        if not answer.ok then
          refused = answer
          session:close()
          return #sessions == 8
        end
        sessions[index] = session
      end
      return false
    end))
    assert.equal("limit", refused.code)
    assert.truthy(refused.error:find "8 sessions")
    for _, session in ipairs(sessions) do session:close() end
  end)

  it("is refused politely where 200 come at once, and commands are answered", function()
    local connections, told = {}, 0
    for index = 1, 200 do
      connections[index] = look.connect(host)
      -- LuaSocket takes a full queue of the kernel's for a connection: wait until those so far were taken out of it.
      if index % 50 == 0 then
        connections[1]:send { command = "status" }
        assert.truthy(connections[1]:receive())
      end
    end
    for _, connection in ipairs(connections) do connection:send { command = "status" } end
    for _, connection in ipairs(connections) do
      local answer, problem = connection:receive()
      assert.truthy(answer, problem)
      if not answer.ok then
        told = told + 1
        assert.truthy(answer.error:find "64 clients")
      end
    end
    assert.equal(200 - 64, told)
    event_is_answered()
    for _, connection in ipairs(connections) do connection:close() end
    assert.truthy(process.eventually(20 * host.patience, function() return host:command("status").status == 0 end))
  end)

  it("is closed when it does not read what it asked for", function()
    local session = look.session(host)
    local refused
    assert.truthy(process.eventually(60 * host.patience, function()
      local sent_all, problem = session:send { id = 1, run = "print(('x'):rep(90000))" }
      event_is_answered()
      refused = not sent_all and problem
      return refused
    end))
    assert.truthy(refused:lower():find "pipe" or refused == "closed", refused)
    session:close()
    assert.equal(0, host:command("status").status)
    assert.truthy(host:output():find "does not read its answers")
  end)

  it("sends nonsense", function()
    for _, nonsense in ipairs { "x", "{}", "[]", '{"run":5}', '{"run":null}', '{"complete":{}}', '{"id":"x","run":"1"}', '"run"',
      '{"run":"' .. ("x"):rep(70000) .. '"}', "\0\1\2", '{"run":"\\u0000"}' } do
      local session = look.session(host)
      session:send(nonsense)
      local answer = session:receive()
      assert.truthy(answer and (answer.state or answer.ok == false), nonsense:sub(1, 40))
      assert.equal("2\n", session:run("1 + 1").output)
      session:close()
    end
  end)

  it("has cost nothing that stays", function()
    event_is_answered()
    assert.truthy(process.eventually(20 * host.patience, function() return #host:messages() >= sent end))
    local resident = tonumber(files.read(("/proc/%d/status"):format(host.process.pid)):match "VmRSS:%s*(%d+) kB")
    assert.truthy(resident < (os.getenv "KAIROS_SANITIZED" and 2e6 or 4e5), resident)
    assert.falsy(host:output():find "level=error")
  end)
end)
