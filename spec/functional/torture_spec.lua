-- A few cycles of tools/torture, and by themselves what it has found.
local Host = require "spec.functional.support.host"
local process = require "spec.functional.support.process"

describe("tools/torture", function()
  it("kills the host at moments drawn by lot, sets its clock both ways, and accounts for everything", function()
    local result = process.run {
      command = { "tools/torture", "--cycles", 9, "--binary", Host.binary },
      env = { KAIROS_PATIENCE = Host.patience }, seconds = 300 * Host.patience,
    }
    assert.equal(0, result.status, result.out .. result.err)
    assert.truthy(result.out:find("\neverything is accounted for\n", 1, true), result.out)
    assert.truthy(result.out:find "\nevents +%d%d+ posted")
    assert.truthy(result.out:find "\ntimers fired +%d")
    assert.truthy(result.out:find "\nlook%-ups +%d.*fresh %d")
    assert.truthy(result.out:find "\nclock +set forwards [1-9]%d* times and back [1-9]", result.out)
  end)
end)

describe("timers", function()
  local rule = [[
local kairos = require "kairos"
return kairos.rule {
  name = "waiting",
  on = "began",
  act = function(event, user)
    user:after(event.payload.wait .. "ms", { name = "rings" })
  end,
  timers = {
    rings = function(_, user) user:send { channel = "push", template = "said", data = { text = "rang" } } end,
  },
}
]]

  it("that come due while the host recovers from a failed write ring once, when it goes on", function()
    local USERS = 300
    local host = Host.start { rules = { waiting = rule }, env = { KAIROS_FAILPOINTS = "store.write=error@8*3" },
      config = { state = { write_behind = "10ms", checkpoint_every = "100ms" },
        timers = { overdue_grace = "100ms", overdue_hold_max = "1s" } } }
    finally(function() host:remove() end)
    local began = {}
    for index = 1, USERS do
      began[index] = Host.event { type = "began", user = "user-" .. index, payload = { wait = index * 10 } }
    end
    assert.truthy(process.eventually(20 * Host.patience, function()
      local ok, answer = pcall(host.post, host, began)
      return ok and answer and answer.status == 202 and answer.json.accepted + answer.json.duplicates == USERS
    end), "the events were never acknowledged")
    -- Each of these is written behind, which fails: the host recovers again and again while timers come due.
    local number = 0
    process.eventually(3, function()
      number = number + 1
      pcall(host.post, host, Host.event { type = "identify", user = "filler-" .. number })
      return false
    end)
    assert.is_true(host.process:alive(), "the host ended: " .. tostring(host.process.status))
    assert.truthy(host:output():find "failpoint=store.write action=error")
    local messages = host:await_messages(USERS, 20)
    local rang = {}
    for _, message in ipairs(messages) do
      assert.is_nil(rang[message.user_id], "a timer rang twice")
      rang[message.user_id] = true
    end
    assert.equal(USERS, #messages)
  end)
end)
