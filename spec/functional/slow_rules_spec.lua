-- Rules that take long, each within its budget: others are served between them, and nothing changes its order.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local socket = require "socket"

-- Some milliseconds of a core.
local BURN = [[
    local function burn() local sum = 0 for index = 1, 2000000 do sum = sum + index % 7 end return sum end
]]

local RULES = {
  -- A chain that falls behind its own clock: each step takes longer than the time to the next.
  chain = BURN .. [[
    local kairos = require "kairos"
    return kairos.rule { name = "chain", on = { "begin", "end" },
      act = function(event, user)
        if event.type == "begin" then return user:after("1ms", { name = "step" }) end
        user:cancel "step"
        user:send { channel = "push", template = "said", data = { text = tostring(user.steps) } }
      end,
      timers = { step = function(_, user)
        burn()
        user:set("steps", (user.steps or 0) + 1)
        user:after("1ms", { name = "step" })
      end } }
  ]],
  heavy = BURN .. [[
    local kairos = require "kairos"
    local count = kairos.window { of = "heavy", over = "1h" }
    return kairos.rule { name = "heavy", on = { "heavy", "light" }, act = function(event, user)
      if event.type == "heavy" then burn() end
      if event.payload.last then
        user:send { channel = "push", template = "said", data = { text = event.type .. " " .. user:count(count) } }
      end
    end }
  ]],
}

describe("beside slow rules", function()
  local host
  before_each(function()
    host = Host.start { rules = RULES, config = { workers = 1, rules = { budget = "1s" },
      timers = { overdue_grace = "1h", overdue_hold_max = "1h" } } }
  end)
  after_each(function() host:remove() end)

  --- Post beside what follows. @return the client's process
  local function begin(list)
    local body = host.directory .. "/body"
    files.write(body, Host.json(list))
    os.remove(host.directory .. "/answer")
    return process.start { output = host.directory .. "/answer", command = { "curl", "-s", "-w", "%{http_code}", "-o", "/dev/null",
      "-H", "Content-Type: application/json", "--data-binary", "@" .. body, ("http://127.0.0.1:%d/v1/events"):format(host.port) } }
  end

  it("of one user's timers the others are served, and the event that they go before waits for them", function()
    local begun = Host.now()
    host:accept { type = "begin", user = "ada", at = begun }
    socket.sleep(1)
    local last = Host.now()
    local client = begin { Host.event { type = "end", user = "ada", at = last } }
    socket.sleep(0.3)
    host:accept { type = "light", user = "bob", payload = { last = true } }
    assert.equal(200, host:get("/healthz").status)
    socket.sleep(0.3)
    assert.is_true(client:alive())
    assert.same({ "light 0" }, host:said "bob")
    assert.equal(0, client:wait(120 * Host.patience))
    assert.equal("202", files.read(host.directory .. "/answer"))
    assert.same({ tostring(last - begun - 1) }, host:said "ada") -- each that was due before it, and no other
  end)

  it("of many events requests are read, and each event is counted once, in its order", function()
    local list = {}
    for index = 1, 1000 do
      list[index] = Host.event { type = "heavy", user = "u" .. index % 10, payload = { last = index > 990 } }
    end
    local client = begin(list)
    socket.sleep(0.3)
    for _ = 1, 3 do assert.equal(200, host:get("/healthz").status) end
    socket.sleep(0.3)
    assert.is_true(client:alive())
    assert.equal(0, client:wait(120 * Host.patience))
    assert.equal("202", files.read(host.directory .. "/answer"))
    for index = 0, 9 do assert.same({ "heavy 100" }, host:said("u" .. index)) end
  end)

  it("of many events of users in the database it is the same, and a stop or a crash among them loses none", function()
    local list = {}
    for index = 1, 600 do list[index] = { type = "light", user = "u" .. index } end
    host:accept(unpack(list))
    host:restart()
    for index = 1, 600 do
      list[index] = Host.event { id = "h" .. index, type = "heavy", user = "u" .. index, payload = { last = true } }
    end
    local client = begin(list)
    socket.sleep(0.2)
    assert.equal(200, host:get("/healthz").status)
    socket.sleep(0.3)
    assert.is_true(client:alive())
    host:kill()
    client:wait(20 * Host.patience)
    host:run()
    client = begin(list)
    socket.sleep(0.2)
    host:stop()
    assert.equal(0, client:wait(20 * Host.patience))
    assert.equal("202", files.read(host.directory .. "/answer"))
    host:run()
    for index = 1, 600, 67 do assert.same({ "heavy 1" }, host:said("u" .. index)) end
  end)
end)
