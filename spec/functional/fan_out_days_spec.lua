-- A fan-out that lives for days, on a clock of the daemon's own.
local Clock = require "spec.functional.support.clock"
local fan_outs = require "spec.functional.support.fan_outs"
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local socket = require "socket"

local DAY = 86400000

describe("a fan-out that lives for days", function()
  it("reaches whoever stood under the key when it began", function()
    local directory = files.temporary()
    local clock = Clock.new(directory)
    local host = Host.start { env = clock:env(), config = { state = { checkpoint_every = "300ms", write_behind = "50ms" } },
      rules = { price_drop = [[
local kairos = require "kairos"
local watchers = kairos.interest { name = "watchers", of = "product.viewed", by = "payload.sku", over = "6h" }
return kairos.rule {
  name = "price_drop", on = "price.dropped", expires_in = "30d", pace = "20/s",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = "now " .. event.payload.price } }
  end,
}
]] } }
    finally(function()
      host:remove()
      files.remove(directory)
    end)
    fan_outs.watch(host, 200)
    host:accept { type = "price.dropped", subject = "K1", payload = { sku = "K1", price = 9 } }
    local fan_out = fan_outs.await(host, function(found) return found.total == 200 end)
    assert.equal(0, host:command("fanouts", "pause", fan_out.id).status)
    -- Four days later checkpoints have the store merge what it has, again and again, and drop what has ended.
    clock:set(4 * DAY)
    for round = 1, 24 do
      local events = {}
      for index = 1, 50 do
        events[index] = Host.event { type = "product.viewed", user = "o" .. index, at = Host.now() + 4 * DAY,
          payload = { sku = ("other-%d-%d"):format(round, index) } }
      end
      fan_outs.accept_in_batches(host, events)
      socket.sleep(0.4) -- with fewer checkpoints it would prove less, and not fail
    end
    assert.equal(0, host:command("fanouts", "resume", fan_out.id).status)
    assert.equal(200, fan_outs.await(host, fan_outs.is "done", 60).reached)
  end)
end)
