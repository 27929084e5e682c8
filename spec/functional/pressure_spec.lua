-- What fills faster than it empties: one warning, one word when it is over, and a gauge and `kairos status` meanwhile.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local process = require "spec.functional.support.process"

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    user:send { channel = "webhook", template = "said", data = { text = event.payload.text } }
  end,
}
]]

local host, sink
after_each(function()
  host:remove()
  if sink then sink = sink:remove() end
end)

local function said(text)
  local count = 0
  for line in host:output():gmatch "[^\n]+" do
    if line:find(text, 1, true) then count = count + 1 end
  end
  return count
end

--- Waits until the gauge is so, and says what status shows.
local function await(name, wanted)
  assert.truthy(process.eventually(30 * Host.patience, function()
    return host:metric("kairos_pressure", ('of="%s"'):format(name)) == wanted
  end), "kairos_pressure of " .. name .. " was never " .. wanted)
  return table.concat(host:ask("status").pressure, "\n")
end

describe("a host whose", function()
  it("sealing falls behind says so, and when it has caught up", function()
    host = Host.start { config = { log = { segment_size = "64KB" } }, hold = "store.ingest" }
    local filler = ("x"):rep(8000)
    local function fill()
      local events = {}
      for index = 1, 100 do events[index] = { user = "u" .. index, payload = { filler = filler } } end
      host:accept(unpack(events))
    end
    assert.truthy(process.eventually(30 * Host.patience, function()
      fill()
      return host:metric "kairos_log_unsealed_segments" > 16
    end))
    assert.truthy(await("sealing", 1):find("sealing does not keep up", 1, true))
    assert.truthy(host:ask("status").unsealed_segments > 16)
    host:release()
    assert.equal("", await("sealing", 0))
    assert.equal(1, said "level=warn component=host msg=\"closed segments of the log pile up")
    assert.equal(1, said "level=info component=host msg=\"sealing keeps up again\"")
  end)

  it("provider takes nothing says so before events are refused, and when it takes them again", function()
    sink = Sink.start()
    sink:answer { default = { status = 503 } }
    host = Host.start {
      rules = { telling = { ["rule.lua"] = telling, ["said.txt"] = "{{text}}" } },
      env = { HOOK = "whsec_a2V5" },
      config = {
        delivery = { outbox_max = "1MB" },
        providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK", backoff_base = "20ms",
          backoff_max = "50ms", attempts = 1000, breaker_failures = 100000 } },
        routes = { webhook = "hook" },
      },
    }
    local text, answer = ("x"):rep(4000), nil
    assert.truthy(process.eventually(30 * Host.patience, function()
      local events = {}
      for index = 1, 10 do events[index] = Host.event { type = "tell", user = "u" .. index, payload = { text = text } } end
      answer = host:post(events)
      return host:metric "kairos_outbox_bytes" > 600e3
    end))
    assert.equal(202, answer.status)
    assert.truthy(await("outbox", 1):find("delivery.outbox_max", 1, true))
    assert.equal(2 ^ 20, host:metric "kairos_outbox_max_bytes")
    sink:answer { default = { status = 200 } }
    assert.equal("", await("outbox", 0))
    assert.equal(1, said "level=warn component=host msg=\"messages that wait for their providers fill half")
    assert.equal(1, said "level=info component=host msg=\"messages that wait for their providers fill less")
  end)
end)
