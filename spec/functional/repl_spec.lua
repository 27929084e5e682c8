-- Looking into the running host: what a session shows, what it may do, and that nothing it does is felt by anybody.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"
local terminal = require "spec.functional.support.terminal"
local lfs = require "lfs"
local socket = require "socket"

local RULES = {
  greet = [[
    local kairos = require "kairos"
    local views = kairos.window { of = "viewed", by = "payload.sku", over = "1h" }
    local kept = { count = 0 }
    return kairos.rule {
      name = "greet", on = { "hello", "viewed" },
      act = function(event, user)
        if event.type == "viewed" then
          if user:count(views, event.payload.sku) < 2 then return end
        end
        user:send { channel = "push", template = "said", data = { text = "hello " .. tostring(kept.count) }, once_per = "1h" }
        user:after("1d", { name = "later" })
      end,
      timers = { later = function() end },
    }
  ]],
}

RULES.perk = [[
  local kairos = require "kairos"
  return kairos.rule { name = "perk", on = "perk", when = function(_, user) return user.vip end, act = function(_, user)
    user:send { channel = "push", template = "said", data = { text = "perk" } }
  end }
]]

RULES.asked = [[
  local kairos = require "kairos"
  local asked = kairos.window { of = "asked", over = "1d", by = "payload.friend" }
  return kairos.rule { name = "asked", on = "asked", when = function(event, user)
    return user:count(asked, event.payload.friend) > 0
  end, act = function(_, user) user:send { channel = "push", template = "said", data = { text = "asked" } } end }
]]

RULES.stock = [[
  local kairos = require "kairos"
  return kairos.rule { name = "stock", on = "seen",
    needs = { stock = kairos.needs { from = "shop", path = "/stock", fallback = { left = 0 } } },
    when = function(_, _, needs) return needs.stock.left > 0 end,
    act = function(_, user, needs)
      user:send { channel = "push", template = "said", data = { text = needs.stock.left .. " left" } }
    end }
]]

describe("kairos repl", function()
  local host, session

  setup(function()
    host = Host.start { rules = RULES, config = { lookups = { { name = "shop", url = "http://127.0.0.1:9" } } } }
    host:accept(
      { type = "identify", user = "ada", payload = { first_name = "Ada", email = "ada@mail.example", vip = true } },
      { type = "hello", user = "ada" },
      { type = "viewed", user = "ada", payload = { sku = "K1" } })
    host:said("ada", 1)
  end)
  teardown(function() host:remove() end)
  before_each(function() session = look.session(host) end)
  after_each(function() session:close() end)

  it("shows an expression's value, runs a statement, keeps globals, asks for more lines", function()
    assert.equal("2\n", session:run("1 + 1").output)
    assert.equal('"a"\n', session:run('= "a"').output)
    assert.equal("done", session:run("x = 20").state)
    assert.equal("21\n2\n", session:run("x + 1, 2").output)
    assert.equal("incomplete", session:run("for i = 1, 3 do").state)
    assert.equal("1\n2\n3\n", session:run("for i = 1, 3 do\nprint(i) end").output)
    assert.equal("incomplete", session:run("{ 1,").state)
    assert.equal("failed", session:run("x = = 1").state)
    assert.truthy(session:run("nothing.here").error:find("session:1: attempt to index global 'nothing'", 1, true))
    local other = look.session(host)
    assert.equal("nil\n", other:run("x").output)
    other:close()
  end)

  it("prints values as they are written, cut where they are long, and asks no metamethod", function()
    assert.equal('{ 1, 2, a = "x\\n", ["b c"] = true }\n', session:run('{ 1, 2, a = "x\\n", ["b c"] = true }').output)
    assert.equal("{ t = { … itself } }\n", session:run("local t = {} t.t = t return t").output)
    local long = session:run "('x'):rep(100000)".output
    assert.truthy(#long < 2200 and long:find "bytes more")
    assert.truthy(session:run("for i = 1, 3000 do print(('x'):rep(100)) end").output:find "… cut")
    local many = session:run("local t = {} for i = 1, 1000 do t[i] = i end return t").output
    assert.truthy(many:find "… 800 more")
    local evil = session:run [[setmetatable({ 1 }, { __tostring = error, __index = error, __len = error, __pairs = error })]]
    assert.equal("{ 1 }\n", evil.output)
    assert.equal("\"\\x1b[31m\"\n", session:run [["\27[31m"]].output)
    assert.equal('"\\xc2\\x9b\\xe2\\x80\\xaex\\xe2\\x81\\xa6é"\n', session:run [["\194\155\226\128\174x\226\129\166é"]].output)
  end)

  it("looks at a user: record, windows, past, decisions", function()
    local ada = session:value [[user "ada"]]
    assert.equal(true, ada.attributes.vip)
    assert.equal(1, #ada.windows)
    assert.equal("viewed", ada.windows[1].of)
    assert.equal("payload.sku", ada.windows[1].by)
    assert.equal("later", ada.timers[1].name)
    local events = session:value [[user("ada"):events()]]
    assert.equal(3, #events)
    assert.equal("viewed", session:value [[user("ada"):events { last = 1 }]][1].event)
    assert.equal("hello", session:value [[user("ada"):events { type = "hello" }]][1].event)
    assert.equal("send", session:value [[user("ada"):decisions()]][1].decision)
    local windows = session:value [[user("ada"):count("viewed", "K1")]]
    assert.equal(1, windows[1].answer)
    assert.equal(3, #session:value [[user("ada"):events()]])
    assert.truthy(session:run([[user.ada]]).error)
    assert.truthy(session:run([[user("ada").events()]]).error:find "colon")
  end)

  it("can be left while the host hangs, before it has answered and after", function()
    local function start(code)
      return process.start { command = { Host.binary, "repl", "--config", host.config_file, "-e", code } }
    end
    local _, before = host:output():gsub("session opened", "")
    local busy = start "while true do end"
    assert.truthy(process.eventually(10 * Host.patience, function() -- beside that of each spec
      local _, sessions = host:output():gsub("session opened", "")
      return sessions > before
    end))
    socket.sleep(0.3) -- it asks
    host.process:signal "STOP"
    finally(function() host.process:signal "CONT" end)
    local late = start "1"
    socket.sleep(0.3)
    late:signal "INT"
    assert.equal("signal 2", late:wait(10 * Host.patience))
    busy:signal "INT"
    socket.sleep(0.3)
    busy:signal "INT"
    assert.equal(1, busy:wait(10 * Host.patience))
  end)

  it("masks what stands in the names of facts, too", function()
    host:accept { type = "asked", user = "ben", payload = { friend = "ada@mail.example" } }
    host:said("ben", 1)
    local shown = session:run([[user("ben"):decisions()]]).output
    assert.truthy(shown:find("count asked", 1, true), shown)
    assert.falsy(shown:find("ada@mail", 1, true), shown)
  end)

  it("masks personal data until it is asked for, and says in the log who asked", function()
    local shown = session:run([[user "ada", user("ada"):events(), user("ada"):decisions()]]).output
    assert.falsy(shown:find "Ada")
    assert.falsy(shown:find "ada@mail")
    assert.falsy(shown:find '"ada"')
    assert.equal("ada@mail.example", session:value([[user("ada", { unmask = true })]]).attributes.email)
    assert.truthy(host:output():find "a session asked for personal data")
    session:run ":unmask"
    assert.truthy(session:run([[user "ada"]]).output:find "Ada")
    assert.truthy(host:output():find("for=unmask", 1, true))
  end)

  it("looks at campaigns, queues, generations and the whole", function()
    host:accept { type = "hello", user = "ada" } -- once more: held back
    local greet = session:value [[campaign "greet"]]
    assert.equal("live", greet.mode)
    assert.same({ "hello", "viewed" }, greet.on)
    assert.equal(1, greet.skips.once_per)
    assert.equal(1, greet.decisions.skip)
    assert.truthy(greet.calls >= 3 and greet.errors == 0 and greet.decisions.send >= 1)
    assert.truthy(greet.p50_us >= 0 and greet.p99_us >= greet.p50_us)
    assert.equal(4, #session:value "campaigns()")
    assert.truthy(session:run([[campaign "gret"]]).error:find "there are: asked, greet, perk")
    assert.equal(2, #session:value("queues()").workers)
    assert.equal("closed", session:value("queues()").providers.files.breaker)
    assert.equal(1, #session:value("generations()").generations)
    assert.equal("running", session:value("status()").phase)
    assert.same({}, session:value "dead()")
  end)

  it("tries an event: what each rule and check would say; nothing changes", function()
    local function everything()
      local record = session:run([[user "ada"]]).output
      local metrics = {}
      for line in host:get("/metrics").body:gmatch "[^\n]+" do
        if line:find "^kairos_rule" or line:find "^kairos_decisions" or line:find "^kairos_skips" then
          metrics[#metrics + 1] = line
        end
      end
      return record, table.concat(metrics, "\n"), #host:messages()
    end
    local record, metrics, messages = everything()
    local tried = session:value [[try { type = "hello", user = "ada" }]]
    assert.equal("skip", tried.rules[1].decision)
    assert.equal("once_per", tried.messages[1].reason)
    tried = session:value [[try { type = "hello", user = "bob" }]]
    assert.equal("send", tried.messages[1].decision)
    assert.equal("later", tried.changes[1].timer)
    tried = session:value [[try { type = "viewed", user = "bob", payload = { sku = "K1" } }]]
    assert.equal("none", tried.rules[1].decision)
    tried = session:value [[try { type = "seen", user = "bob", needs = { stock = { left = 3 } } }]]
    assert.equal("3 left", tried.messages[1].data.text)
    tried = session:value [[try { type = "seen", user = "bob" }]]
    assert.equal("its `when` said no", tried.rules[1].reason)
    assert.truthy(session:run([[try { typ = "x" }]]).error:find "try does not know")
    assert.truthy(session:run([[try { type = "x" }]]).error:find "user_id")
    local record_after, metrics_after, messages_after = everything()
    assert.equal(record, record_after)
    assert.equal(metrics, metrics_after)
    assert.equal(messages, messages_after)
    assert.equal(0, #session:value([[user "bob"]]).timers)
  end)

  it("refuses changes before :write; then makes them durably, and says who did", function()
    for _, code in ipairs { [[user("eve"):set("vip", true)]], [[user("eve"):suppress "email"]], "pause()", "resume()",
      [[dead_retry "all"]], [[dead_drop "all"]], [[pause { campaign = "greet" }]],
      [[user("eve"):withdraw "marketing"]], [[user("eve"):cancel("greet", "later")]] } do
      assert.truthy(session:run(code).error:find(":write", 1, true), code)
    end
    assert.equal("done", session:run(":write").state)
    assert.equal("done", session:run([[user("eve"):set("vip", true)]]).state)
    assert.equal("done", session:run([[user("eve"):suppress("email", "asked on the phone")]]).state)
    local eve = session:value [[user "eve"]]
    assert.equal(true, eve.attributes.vip)
    assert.equal("asked on the phone", eve.suppressions[1].reason)
    assert.truthy(host:output():find "a session changes the host")
    assert.truthy(host:output():find "what=set")
    local logged = session:value [[user("eve"):events()]]
    assert.truthy(logged[1].command:find "^set by uid %d+ in a session$")
    -- A replay sees what the rule saw.
    host:accept { type = "perk", user = "eve" }
    assert.equal("send", session:value([[user("eve"):replay { about = "perk" }]])[1].decision)
    assert.equal("done", session:run([[user("eve"):grant("marketing", "push")]]).state)
    assert.truthy(session:run([[user("eve"):grant("nonsense")]]).error:find "purpose")
    session:run([[user("eve"):suppress("push")]])
    assert.truthy(session:value([[user "eve"]]).suppressions[2].reason:find "by uid %d+ in a session")
    session:run([[user("eve"):unsuppress "push"]])
    session:run([[user("eve"):set("vip", nil)]])
    session:run([[user("eve"):unsuppress "email"]])
    host:accept { type = "hello", user = "eve" }
    assert.equal("done", session:run([[user("eve"):cancel("greet", "later")]]).state)
    assert.truthy(session:run([[user("eve"):cancel("greet", "later")]]).error:find "no timer")
    eve = session:value [[user "eve"]]
    assert.same({}, eve.suppressions)
    assert.same({}, eve.timers)
    assert.equal("done", session:run([[pause { campaign = "greet", reason = "too loud" }]]).state)
    assert.equal("paused", session:value([[campaign "greet"]]).state)
    assert.equal("done", session:run([[resume { campaign = "greet" }]]).state)
    assert.equal("live", session:value([[campaign "greet"]]).state)
    assert.truthy(session:run([[pause { campain = "greet" }]]).error:find "campaign")
    -- As at every other door.
    assert.truthy(session:run([[user("eve"):suppress "emial"]]).error:find "there is no channel")
    assert.truthy(session:run([[user("eve"):suppress("sms", ("x"):rep(5000))]]).error:find('"text" has 5000 bytes', 1, true))
    assert.same({}, session:value([[user "eve"]]).suppressions)
  end)

  it("goes on through a reload, and sees what serves then", function()
    local stream = look.connect(host, { command = "tail", campaign = "fresh" })
    session:run "kept = 7"
    files.write(host.rules .. "/fresh/rule.lua", [[
      local kairos = require "kairos"
      return kairos.rule { name = "fresh", on = "fresh", act = function(_, user)
        user:send { channel = "push", template = "said", data = { text = "fresh" } }
      end }
    ]])
    files.write(host.rules .. "/fresh/said.txt", "{{text}}")
    host:command "reload"
    assert.truthy(process.eventually(30 * host.patience, function()
      return session:run([[campaign "fresh"]]).state == "done"
    end))
    assert.equal("send", session:value([[try { type = "fresh", user = "gil" }]]).messages[1].decision)
    assert.equal("7\n", session:run("kept").output)
    assert.truthy(#session:value("generations()").generations >= 2)
    host:accept { type = "fresh", user = "gil" }
    assert.equal("send", stream:receive().what)
    stream:close()
  end)

  it("says times in words", function()
    assert.equal("1700000000000 (2023-11-14 22:13:20 UTC)\n", session:run("1700000000000").output)
  end)

  it("completes names", function()
    local function names(text)
      session:send { id = 900, complete = text }
      return table.concat(session:receive().names, " ")
    end
    assert.equal("campaign( campaigns(", names "campa")
    assert.truthy(names("string."):find "rep%(")
    session:run "stuff = { alpha = 1, alpine = 2 }"
    assert.truthy(names("stuff.al"):find "alpha")
    session:run [[a = user "ada"]]
    assert.equal("events(", names "a:ev")
    assert.equal("events(", names 'user("ada"):ev')
  end)

  it("explains itself", function()
    assert.truthy(session:run(":help").output:find "what the host knows of a user")
    assert.truthy(session:run(":help try").output:find "Nothing is stored")
    assert.truthy(session:run(":nonsense").error:find ":worker")
    assert.truthy(session:run(":worker 7").error:find "0 to 1")
    session:run "x = 5"
    assert.equal("done", session:run(":worker 1").state)
    assert.equal("5\n", session:run("x").output)
  end)

  it("is a prompt at a terminal: edited, completed, remembered, interrupted", function()
    local home = host.directory .. "/home"
    local prompt = terminal.start {
      command = { Host.binary, "repl", "--config", host.config_file },
      env = { HOME = home, XDG_STATE_HOME = "", TERM = "xterm", LC_ALL = "C.UTF-8" },
    }
    local function shows(text)
      assert.truthy(prompt:shows(text, 20 * host.patience), text .. " does not show in: " .. prompt.shown)
    end
    shows "kairos> "
    prompt:type "1 + 41\n"
    shows "\n42"
    prompt:type "campaign\t"
    shows "campaign(  campaigns("
    prompt:type "\21for i = 7, 8 do\n" -- Ctrl-U takes the line back
    shows ">> "
    prompt:type "print(i * 11) end\n"
    shows "77"
    shows "88"
    prompt:type "while true do end\n"
    shows "end"
    socket.sleep(0.1)
    prompt:type "\3"
    shows "cancelled"
    prompt:type "\27[A\27[A\27[A\n" -- the third last, once more
    shows "42"
    prompt:type ":quit\n"
    assert.equal(0, prompt.process:wait(20 * host.patience))
    local history = home .. "/.local/state/kairos/repl_history"
    assert.truthy(files.read(history):find("41", 1, true))
    assert.equal("rw-------", lfs.attributes(history, "permissions"))
    prompt:close()
  end)

  it("is reached by the command line", function()
    local result = host:command("repl", "-e", "1 + 1")
    assert.equal("2\n", result.out)
    assert.equal(0, result.status)
    result = host:command("repl", "--json", "-e", '{ a = { 1, 2 }, b = "x" }')
    assert.equal('{"a":[1,2],"b":"x"}\n', result.out)
    result = host:command("repl", "-e", "error 'no'")
    assert.equal(1, result.status)
    assert.truthy(result.err:find "no")
    assert.truthy(host:command("repl", "--unmask", "-e", [[user "ada"]]).out:find "Ada")
    -- What the host says to --write and --unmask is not among the values.
    result = host:command("repl", "--write", "--unmask", "--json", "-e", "{ 1 }")
    assert.equal("[1]\n", result.out)
    assert.truthy(result.err:find "personal data is shown", result.err)
    assert.truthy(host:command("repl", "--worker", "9", "-e", "1").err:find "worker")
    -- The host takes no line of more than 64 KB: it says so, and what follows is run.
    result = host:command("repl", "-e", "return '" .. ("x"):rep(70000) .. "'")
    assert.equal(1, result.status)
    assert.truthy(result.err:find "65536", result.err)
    files.write(host.directory .. "/script", "x = 3\nfor i = 1, 2 do\n  x = x + i\nend\nx\nnonsense()\nprint 'never'\n")
    local output = host.directory .. "/script.out"
    local script = process.start { command = { Host.binary, "repl", "--config", host.config_file },
      input = host.directory .. "/script", output = output }
    assert.equal(1, script:wait(20 * host.patience))
    assert.truthy(files.read(output):find "^6\n")
    assert.truthy(files.read(output):find "nonsense")
    assert.falsy(files.read(output):find "never")
  end)
end)

describe("kairos repl while the host recovers", function()
  it("says that it does not run, whatever is asked of the log", function()
    local host = Host.new { rules = { greet = RULES.greet }, hold = "log.fsync=error@3,recovery.done" }
    host:release()
    host:run()
    local session = look.session(host)
    session:run 'u = user("ada")'
    host:hold "recovery.done"
    local function greet() return host:post(Host.event { type = "hello", user = "ada" }).status end
    assert.is_true(process.eventually(10 * host.patience, function() return greet() == 503 end))
    for _ = 1, 10 do -- soon after that the log is closed
      for _, question in ipairs { "u:events()", "queues()" } do
        local answer = session:run(question)
        assert.truthy((answer.error or ""):find("not running", 1, true), question)
      end
      socket.sleep(0.03)
    end
    host:release()
    assert.is_true(process.eventually(20 * host.patience, function() return greet() == 202 end))
    assert.truthy(session:run("#u:events()").output)
    session:close()
    host:remove()
  end)
end)
