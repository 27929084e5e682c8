--- What specs of fan-outs share: users who look at a product, and waiting for what becomes of a fan-out.
local assert = require "luassert"
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local fan_outs = {}

function fan_outs.accept_in_batches(host, events)
  for first = 1, #events, 500 do
    local batch = {}
    for index = first, math.min(first + 499, #events) do batch[#batch + 1] = events[index] end
    local answer = host:post(batch)
    assert.equal(202, answer.status, answer.body)
  end
end

--- Users w1, w2, … look at the product.
function fan_outs.watch(host, count, sku)
  local events = {}
  for index = 1, count do
    events[index] = Host.event { type = "product.viewed", user = "w" .. index, payload = { sku = sku or "K1" } }
  end
  fan_outs.accept_in_batches(host, events)
end

--- Sixty users look at two products, then the price of one drops: asked of `kairos simulate`, then given to the host.
--- @return what it says is sent: message id -> user
function fan_outs.simulated(host)
  local lines, moment = {}, Host.now()
  for index = 1, 60 do
    lines[#lines + 1] = Host.event { type = "product.viewed", user = "w" .. index, at = moment + index, id = "v" .. index,
      payload = { sku = index % 3 == 0 and "K2" or "K1" } }
  end
  lines[#lines + 1] = Host.event { type = "price.dropped", subject = "K1", id = "d1", at = moment + 100,
    payload = { sku = "K1", price = 9 } }
  local path = host.directory .. "/events.ndjson"
  files.write(path, Host.ndjson(lines))
  local simulated = host:command("simulate", "--events", path, "--until", tostring(moment + 60000))
  assert.equal(0, simulated.status, simulated.err)
  local expected = {}
  for line in simulated.out:gmatch "[^\n]+" do
    local id, user = line:match '"message_id":"(%x+)"', line:match '"user_id":"(w%d+)"'
    if id then expected[id] = user end
  end
  fan_outs.accept_in_batches(host, lines)
  return expected
end

--- @param event_id  of the event that began it; the only one unless given
--- @return the fan-out, once it is as the function wants it
function fan_outs.await(host, wanted, seconds, event_id)
  local found
  process.eventually((seconds or 10) * Host.patience, function()
    local ok, list = pcall(host.ask, host, "fanouts")
    found = nil
    for _, fan_out in ipairs(ok and list or {}) do
      if not event_id or fan_out.event_id == event_id then found = found or fan_out end
    end
    return found and wanted(found)
  end)
  assert.is_not_nil(found, "there is no fan-out")
  assert.is_true(wanted(found), Host.json { state = found.state, reached = found.reached, reason = found.reason })
  return found
end

function fan_outs.is(state)
  return function(fan_out) return fan_out.state == state end
end

return fan_outs
