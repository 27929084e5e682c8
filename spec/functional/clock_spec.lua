-- The host's wall clock is set while it runs: back, what waits for a length of time waits no longer for that; ahead for a while,
-- nothing is forgotten. (What is due at a moment is due when the clock shows it; tools/torture holds all of that to account.)
local Host = require "spec.functional.support.host"
local Clock = require "spec.functional.support.clock"
local files = require "spec.functional.support.files"
local sink = require "spec.functional.support.sink"
local process = require "spec.functional.support.process"
local socket = require "socket"

local HOUR = 3600 * 1000

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    user:send { channel = event.payload.channel, template = "said", data = { text = "told" } }
  end,
}
]]

describe("a clock that is set back by hours", function()
  local host, clock, directory, provider
  local function start(config, more)
    local env = clock:env()
    for name, value in pairs(more or {}) do env[name] = value end
    env.HOOK_SECRET = "whsec_" .. ("a"):rep(32)
    host = Host.start { rules = { telling = telling }, config = config, env = env }
  end
  before_each(function()
    directory = files.temporary()
    clock = Clock.new(directory)
    clock:set(5 * HOUR)
  end)
  after_each(function()
    host:remove()
    if provider then provider:remove() end
    provider = nil
    files.remove(directory)
  end)

  it("does not have a message wait that is to be tried again", function()
    provider = sink.start()
    provider:answer { next = { { status = 503, headers = { ["Retry-After"] = "2" } } } }
    start {
      providers = { { name = "hook", type = "webhook", url = provider.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    }
    host:accept { type = "tell", user = "ada", payload = { channel = "webhook" } }
    assert.equal(1, #provider:await(1, 10 * Host.patience))
    clock:set(0)
    assert.equal(2, #provider:await(2, 20 * Host.patience))
  end)

  it("does not have a message wait whose failed attempt is being logged then", function()
    provider = sink.start()
    provider:answer { next = { { status = 503, headers = { ["Retry-After"] = "2" } } } }
    local gate = directory .. "/gate"
    files.write(gate, "")
    start({
      providers = { { name = "hook", type = "webhook", url = provider.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    }, { KAIROS_FAILPOINTS = "log.write=hold:" .. gate .. "@4" }) -- the start, the event, the attempt, what became of it
    host:accept { type = "tell", user = "ada", payload = { channel = "webhook" } }
    assert.truthy(process.eventually(10 * Host.patience, function() return host:output():find("failpoint=log.write", 1, true) end))
    assert.equal(1, #provider:requests())
    clock:set(0)
    socket.sleep(3) -- it looks at the clock every second
    os.remove(gate)
    assert.equal(2, #provider:await(2, 20 * Host.patience))
  end)

  it("does not have messages wait that nobody put off, through a restart either", function()
    start()
    host:ask("pause", "files")
    host:accept({ type = "tell", user = "ada", payload = { channel = "push" } },
      { type = "tell", user = "bob", payload = { channel = "push" } })
    clock:set(0)
    host:accept { type = "tell", user = "cem", payload = { channel = "push" } }
    assert.same({}, host:messages())
    host:restart()
    host:ask("resume", "files")
    assert.equal(3, #host:await_messages(3, 20))
  end)
end)

describe("a clock that is ahead for a while", function()
  it("has the host forget nothing that it should still know, through restarts either", function()
    local directory = files.temporary()
    local clock = Clock.new(directory)
    local host = Host.start { rules = { telling = telling }, env = clock:env(),
      config = { log = { segment_age = "1s" }, state = { checkpoint_every = "200ms" } } }
    finally(function()
      host:remove()
      files.remove(directory)
    end)
    host:accept { id = "e1", type = "tell", user = "ada", payload = { channel = "push" } }
    assert.truthy(process.eventually(20 * Host.patience, function()
      host:post(Host.event { user = "cem" }) -- so that segments end
      return host:metric "kairos_log_unsealed_segments" <= 1 and host:metric "kairos_log_segments" >= 2
    end))
    for _, days in ipairs { 2, 40 } do
      clock:set(days * 24 * HOUR)
      for round = 1, 2 do
        for _ = 1, 6 do -- some checkpoints
          host:post(Host.event { user = "cem" })
          socket.sleep(0.2)
        end
        if round == 1 then host:restart() end
      end
      clock:set(0)
      local again = Host.event { id = "e1", type = "tell", user = "ada", payload = { channel = "push" } }
      assert.equal(1, host:post(again).json.duplicates)
      assert.equal("send", host:ask("why", "ada")[1].decision)
    end
  end)
end)
