-- Everything at once: all workers, deliveries, timers, sealing, commands and readers of the metrics under one another. What
-- ThreadSanitizer is to see happens here; one request after the other would put all of it in order.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"

local rule = [[
local kairos = require "kairos"
local seen = kairos.window { of = "x", over = "1h" }
return kairos.rule { on = "x",
  timers = { later = function(timer, user)
    user:send { channel = "push", template = "said", data = { text = "later " .. timer.data } }
  end },
  act = function(event, user)
    user:set("round", event.payload.round)
    user:after("20ms", { name = "later", data = event.payload.round })
    user:send { channel = "webhook", template = "said", data = { text = "now " .. user:count(seen) } }
    if event.payload.bad then error "on purpose" end
  end }
]]

local USERS, ROUNDS, CONNECTIONS = 150, 4, 3

describe("a host of four workers", function()
  it("keeps its count while everybody wants something of it", function()
    local sink = Sink.start()
    local host = Host.start {
      rules = { both = rule },
      env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) },
      config = {
        workers = 4,
        log = { segment_age = "1s" },
        providers = {
          { name = "files", type = "file" },
          { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" },
        },
        routes = { push = "files", webhook = "hook" },
      },
    }
    finally(function()
      host:remove()
      sink:remove()
    end)
    local links = {}
    for index = 1, CONNECTIONS do links[index] = host:connect() end
    for round = 1, ROUNDS do
      for index, link in ipairs(links) do
        local list = {}
        for user = 1, USERS do
          list[user] = Host.event { type = "x", user = ("user-%d-%d"):format(index, user),
            payload = { round = round, bad = user == 1 or nil } }
        end
        assert(link:send(http.request_bytes { body = Host.json(list) }))
      end
      assert.equal(0, host:command("status").status)
      assert.equal(0, host:command("why", "user-1-2", "--replay").status)
      assert.equal(0, host:command("pause", "hook").status)
      assert.equal(200, host:get("/metrics").status)
      assert.equal(0, host:command("suppress", "user-2-2", "push").status)
      assert.equal(0, host:command("resume", "hook").status)
      assert.equal(0, host:command("dead", "list").status)
      for _, link in ipairs(links) do
        local answer = link:answer()
        assert.equal(202, answer.status)
        assert.equal(USERS, answer.json.accepted)
      end
    end
    -- Of each connection one user's rule fails each round.
    local sent = (USERS - 1) * ROUNDS * CONNECTIONS
    assert.equal(sent, #sink:await(sent, 30 * Host.patience))
    assert.equal(ROUNDS * CONNECTIONS, #host:dead(ROUNDS * CONNECTIONS))
    local function told_later()
      local users = {}
      for _, message in ipairs(host:messages()) do
        if message.body == "later " .. ROUNDS then users[message.user_id] = true end
      end
      local count = 0
      for _ in pairs(users) do count = count + 1 end
      return count
    end
    -- Timers that were set again meanwhile fire once; the last of each user fires. One user is suppressed.
    assert.truthy(process.eventually(20 * Host.patience, function()
      return told_later() == (USERS - 1) * CONNECTIONS - 1
    end), told_later())
    local other = Host.event { type = "x", user = "user-1-2", payload = { round = ROUNDS + 1 } }
    for _, link in ipairs(links) do link:send(http.request_bytes { body = Host.json(other) }) end
    assert.equal(0, host:stop())
  end)
end)
