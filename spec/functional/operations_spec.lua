-- Start, stop, and what an operator sees in between.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local socket = require "socket"

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    if event.payload.fail then error("failed for " .. event.user) end
    user:send { channel = "push", template = "said", data = { text = event.payload.text } }
  end,
}
]]

describe("SIGTERM", function()
  local host
  after_each(function() host:remove() end)

  it("ends the host with 0, and it says so", function()
    host = Host.start { rules = { telling = telling } }
    host:accept { type = "tell", user = "ada", payload = { text = "x" } }
    assert.equal(0, host:stop())
    assert.truthy(host:output():find "stopped")
  end)

  it("ends so whoever has been answered, however slowly it starts", function()
    host = Host.start { rules = { telling = telling }, env = { KAIROS_FAILPOINTS = "control.listen=sleep:1000" } }
    host:accept { type = "tell", user = "ada", payload = { text = "x" } }
    assert.equal(0, host:stop())
    assert.truthy(host:output():find "stopped")
  end)

  it("lets what is in flight finish, takes nothing new, and writes everything", function()
    host = Host.start { rules = { telling = telling }, config = { workers = 1 },
      env = { KAIROS_FAILPOINTS = "log.fsync=sleep:600@3*0" } }
    for index = 1, 3 do host:accept { type = "tell", user = "warm", payload = { text = index } } end
    local link, idle, other = host:connect(), host:connect(), host:connect()
    local event = Host.event { type = "tell", user = "ada", payload = { text = "in flight" } }
    link:send(http.request_bytes { body = Host.json(event) })
    socket.sleep(0.1)
    host.process:signal "TERM"
    process.eventually(10 * Host.patience, function() return host:output():find 'msg="draining"' end)
    -- A connection that was there already is told; a new one may find nobody.
    local refused = other:request { body = Host.json(Host.event { type = "tell", user = "bob" }) }
    assert.is_true(refused == nil or refused.status == 503)
    local answer = link:answer()
    assert.equal(202, answer and answer.status)
    assert.equal(0, host.process:wait(20 * Host.patience))
    assert.is_true(idle:closed())
    host:run { KAIROS_FAILPOINTS = "" }
    assert.same({ "in flight" }, host:said "ada")
    assert.same({}, host:said("bob", 0))
  end)

  it("while starting is obeyed too", function()
    host = Host.new { rules = { telling = telling } }
    host:launch()
    socket.sleep(0.02)
    host.process:signal "TERM"
    local status = host.process:wait(20 * Host.patience)
    assert.is_true(status == 0 or status == "signal 15", tostring(status))
    host:run()
  end)

  it("twice ends it at once, without losing what was acknowledged", function()
    host = Host.start { rules = { telling = telling } }
    host:accept { type = "tell", user = "ada", payload = { text = "kept" } }
    host.process:signal "TERM"
    host.process:signal "TERM"
    assert.equal(0, host.process:wait(20 * Host.patience))
    host:run()
    assert.same({ "kept" }, host:said "ada")
  end)
end)

describe("a host that is starting", function()
  it("answers 503 to events, and is healthy, not ready", function()
    local host = Host.new()
    finally(function() host:remove() end)
    host:launch { KAIROS_FAILPOINTS = "store.checkpoint=sleep:2000" }
    local health
    process.eventually(5 * Host.patience, function()
      local ok, answer = pcall(host.get, host, "/healthz")
      health = ok and answer
      return health
    end)
    assert.equal(200, health.status)
    assert.equal(503, host:get("/readyz").status)
    local answer = host:post(Host.event { user = "ada" })
    assert.equal(503, answer.status)
    assert.is_true(tonumber(answer.headers["retry-after"]) >= 1)
    assert.is_true(host:ready())
    assert.equal(202, host:post(Host.event { user = "ada" }).status)
  end)

  for what, hit in pairs { ["data_dir's own"] = 1, ["those below it"] = 2 } do
    it("does not begin while names of directories cannot be made durable: " .. what, function()
      local host = Host.new { env = { KAIROS_FAILPOINTS = "host.directory=error@" .. hit } }
      finally(function() host:remove() end)
      host:launch()
      assert.equal(1, host.process:wait(20 * Host.patience))
      assert.truthy(host:output():find("the directory " .. host.data .. " cannot be made durable", 1, true))
      host.env.KAIROS_FAILPOINTS = nil
      host:run()
      host:accept { user = "ada" }
    end)
  end

  it("tells systemd when it is ready, and when it stops", function()
    local directory = files.temporary()
    local notices = require "socket.unix".dgram()
    assert(notices:bind(directory .. "/notify"))
    notices:settimeout(10)
    local host = Host.new { env = { NOTIFY_SOCKET = directory .. "/notify" } }
    finally(function()
      host:remove()
      notices:close()
      files.remove(directory)
    end)
    host:launch()
    assert.truthy(notices:receive():find("READY=1", 1, true))
    assert.equal(200, host:get("/readyz").status)
    host.process:signal "TERM"
    assert.truthy(notices:receive():find("STOPPING=1", 1, true))
  end)
end)

describe("a second host", function()
  local host
  setup(function() host = Host.start() end)
  teardown(function() host:remove() end)

  it("on the same data directory is refused, and the first goes on", function()
    local second = Host.new { data = host.data }
    finally(function() second:remove() end)
    second:launch()
    local status = second.process:wait(20 * Host.patience)
    assert.equal(1, status)
    assert.truthy(second:output():find(host.data, 1, true), second:output())
    host:accept { user = "ada" }
    assert.equal("running", host:ask("status").phase)
  end)

  it("on the same port is refused: it would take half of the events", function()
    local second = Host.new { config = { listen = "127.0.0.1:" .. host.port } }
    finally(function() second:remove() end)
    second:launch()
    assert.equal(1, second.process:wait(20 * Host.patience))
    assert.truthy(second:output():find("cannot be listened on", 1, true), second:output())
  end)
end)

describe("a running host", function()
  local host
  setup(function()
    host = Host.start { rules = { telling = telling } }
    host:accept({ type = "identify", user = "ada-lovelace", payload = { email = "ada@shop.example", first_name = "Ada" } },
      { type = "tell", user = "ada-lovelace", payload = { text = "a secret" } },
      { type = "tell", user = "ada-lovelace", payload = { text = "b", fail = true } })
    host:said "ada-lovelace"
    host:dead(1)
  end)
  teardown(function() host:remove() end)

  it("is healthy and ready", function()
    assert.equal(200, host:get("/healthz").status)
    assert.equal(200, host:get("/readyz").status)
  end)

  it("tells its status", function()
    local status = host:ask "status"
    assert.equal("running", status.phase)
    assert.equal(host.port, status.port)
    assert.equal(2, status.workers)
    assert.equal(1, status.generation)
    assert.is_table(status.providers.files)
  end)

  it("shows what it knows of a user", function()
    local user = host:ask("user", "ada-lovelace")
    assert.equal("Ada", user.attributes.first_name)
    assert.equal("ada@shop.example", user.attributes.email)
  end)

  it("writes no personal data to its log", function()
    local log = host:output()
    assert.truthy(log:find "component=" or log:find "level=")
    for _, word in ipairs { "ada-lovelace", "ada@shop.example", "a secret" } do
      assert.falsy(log:find(word, 1, true), word .. " is in the log")
    end
  end)

  it("answers on its socket, to its own user only, one JSON line a request, many a connection", function()
    local path = host.data .. "/control.sock"
    local mode = process.shell("stat -c %a " .. path)
    assert.equal("600\n", mode)
    local unix = require "socket.unix"()
    assert(unix:connect(path))
    unix:settimeout(5)
    unix:send '{"command":"status"}\n{"command":"user","user":"ada-lovelace"}\n{"command":"fly"}\nnot json\n'
    local function answer() return cjson.decode((assert(unix:receive "*l"))) end
    assert.is_true(answer().ok)
    assert.equal("Ada", answer().result.attributes.first_name)
    local refused = answer()
    assert.is_false(refused.ok)
    assert.truthy(refused.error:find "fly")
    assert.is_false(answer().ok)
    -- A line without end is not waited for without end.
    unix:send(("x"):rep(100000))
    local line = unix:receive "*l"
    assert.is_true(line == nil or cjson.decode(line).ok == false)
    unix:close()
    assert.equal("running", host:ask("status").phase)
  end)

  it("replaces the socket of one that died", function()
    host:kill()
    assert.is_true(files.exists(host.data .. "/control.sock"))
    host:run()
    assert.equal("running", host:ask("status").phase)
    assert.equal(0, host:stop())
    assert.is_false(files.exists(host.data .. "/control.sock"))
    host:run()
  end)
end)

describe("logs", function()
  local host
  after_each(function() host:remove() end)

  it("may be JSON, each line", function()
    host = Host.start { config = { logging = { format = "json", level = "debug" } } }
    host:accept { user = "ada" }
    host:stop()
    local count = 0
    for line in host:output():gmatch "[^\n]+" do
      local entry = cjson.decode(line)
      assert.is_string(entry.level)
      count = count + 1
    end
    assert.is_true(count >= 3)
  end)

  it("show users where the configuration says so", function()
    host = Host.start { rules = { telling = telling }, config = { logging = { show_users = true } } }
    host:accept { type = "tell", user = "ada-lovelace", payload = { fail = true } }
    host:dead(1)
    assert.truthy(process.eventually(2, function() return host:output():find("ada-lovelace", 1, true) end))
  end)

  it("keep to their level", function()
    host = Host.start { config = { logging = { level = "error" } } }
    host:stop()
    assert.equal("", host:output())
  end)

  it("are lost where nobody reads them, and the host goes on", function()
    host = Host.new { rules = { telling = telling } }
    -- A pipe that is full, and that its own writer keeps open.
    local script = 'mkfifo "$0" && exec 3<>"$0" && head -c 65536 /dev/zero >&3 && exec "$@" 2>&3 3>&-'
    host.process = process.start {
      command = { "bash", "-c", script, host.directory .. "/unread", Host.binary, "run", "--config", host.config_file },
      output = host.log,
    }
    assert.is_true(host:ready())
    host:accept { type = "tell", user = "ada", payload = { fail = true } }
    host:dead(1)
    host:accept { user = "ada" }
    assert.equal(0, host:stop())
  end)
end)

describe("the service unit", function()
  it("is one that systemd takes, and is confined", function()
    local verify = process.run { command = { "systemd-analyze", "--version" } }
    local unit = files.read "config/kairos.service"
    for _, line in ipairs { "NoNewPrivileges=yes", "ProtectSystem=strict", "Type=notify", "StateDirectory=kairos" } do
      assert.truthy(unit:find(line, 1, true), line)
    end
    if verify.status ~= 0 then
      pending "systemd-analyze is not there"
      return
    end
    local directory = files.temporary()
    -- The program of an installed unit lies elsewhere; here any that exists will do.
    files.write(directory .. "/kairos.service", (unit:gsub("/usr/[%w/]*bin/kairos", "/bin/true")))
    local result = process.run { command = { "systemd-analyze", "verify", directory .. "/kairos.service" } }
    files.remove(directory)
    assert.equal("", result.out .. result.err)
  end)
end)

describe("Many who read history at once", function()
  local host
  after_each(function() host:remove() end)

  it("hold up neither who pauses a provider nor a backup, and are all answered", function()
    host = Host.start { rules = { telling = telling }, hold = "history.read" }
    host:accept { type = "tell", user = "ada", payload = { text = "x" } }
    host:await_messages(1)
    local readers = {}
    for index = 1, 6 do
      readers[index] = process.start {
        command = { Host.binary, "why", "--config", host.config_file, "ada", "--json" },
        output = ("%s/why-%d"):format(host.directory, index),
      }
    end
    assert.truthy(process.eventually(10 * Host.patience, function()
      return host:output():find "failpoint=history.read"
    end))
    socket.sleep(0.3) -- the others have come too; were they late, this would prove less, and not fail
    assert.equal(0, host:command("pause", "files").status)
    assert.equal(0, host:command("backup", host.directory .. "/copy").status)
    host:release()
    for index, reader in ipairs(readers) do
      assert.equal(0, reader:wait(20 * Host.patience))
      local told = cjson.decode(files.read(("%s/why-%d"):format(host.directory, index)))
      assert.equal(1, #told)
    end
  end)
end)
