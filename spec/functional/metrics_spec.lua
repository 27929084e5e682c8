-- /metrics: figures that Prometheus takes, and that move with what happens.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    if event.payload.fail then error "on purpose" end
    user:send { channel = "push", template = "said", data = { text = "x" }, once_per = "1d" }
  end,
}
]]

describe("metrics", function()
  local host, text
  setup(function()
    host = Host.start {
      rules = { telling = telling },
      env = { HOOK = "whsec_a2V5" },
      config = { providers = { { name = "hook", type = "webhook", url = "http://127.0.0.1:1/", secret_env = "HOOK" } } },
    }
    host:accept({ type = "tell", user = "ada" }, { type = "tell", user = "ada" },
      { type = "tell", user = "bob", payload = { fail = true } })
    local again = Host.event { user = "ada" }
    host:post { again, again, Host.event { id = "", user = "ada" } }
    process.eventually(5 * Host.patience, function() -- a worker tells of what is in flight at the end of its turn
      return host:metric("kairos_deliveries_total", 'provider="files",outcome="accepted"') == 1
        and host:metric("kairos_events_in_flight") == 0
    end)
    text = host:get("/metrics").body
  end)
  teardown(function() host:remove() end)

  local function value(pattern)
    local sum
    for line in text:gmatch "[^\n]+" do
      if line:find(pattern) and not line:find "^#" then sum = (sum or 0) + tonumber(line:match "(%S+)$") end
    end
    return sum
  end

  it("pass promtool check metrics", function()
    if process.run({ command = { "promtool", "--version" } }).status ~= 0 then
      pending "promtool is not there"
      return
    end
    local path = host.directory .. "/metrics"
    files.write(path, text)
    local result = process.run { command = { "promtool", "check", "metrics" }, input = path }
    assert.equal("", result.err .. result.out)
    assert.equal(0, result.status)
  end)

  it("are what the alert rules ask for, which promtool takes", function()
    local rules = files.read "config/alerts.yaml"
    local count = 0
    for expression in rules:gmatch "expr: (.-)\n      [ ]*for" do
      for name in expression:gmatch "kairos_[%l_]+" do
        assert.truthy(text:find("\n" .. name .. "[ {]"), name)
        count = count + 1
      end
    end
    assert.is_true(count >= 10)
    for _, labels in ipairs {
      'kairos_pressure{of="disk"}', 'kairos_pressure{of="merging"}',
      'kairos_events_total{verdict="retry"}', 'kairos_provider_breaker{provider="files"}',
      'kairos_deliveries_total{provider="files",outcome="exhausted"}', 'kairos_rule_errors_total{campaign="telling"',
      'kairos_feedback_total{provider="hook",signature="bad"}',
    } do
      assert.truthy(text:find(labels, 1, true), labels)
    end
    if process.run({ command = { "promtool", "--version" } }).status ~= 0 then
      pending "promtool is not there"
      return
    end
    local result = process.run { command = { "promtool", "check", "rules", "config/alerts.yaml" } }
    assert.equal(0, result.status, result.err .. result.out)
  end)

  it("come as text/plain, version 0.0.4", function()
    assert.truthy(host:get("/metrics").headers["content-type"]:find("text/plain; version=0.0.4", 1, true))
  end)

  it("count events by verdict", function()
    assert.equal(4, value '^kairos_events_total{verdict="accepted"}')
    assert.equal(1, value '^kairos_events_total{verdict="duplicate"}')
    assert.equal(1, value '^kairos_events_total{verdict="rejected"}')
  end)

  it("count rule calls, errors and time by rule", function()
    assert.equal(3, value '^kairos_rule_calls_total{.*telling.*}')
    assert.equal(1, value '^kairos_rule_errors_total{.*telling.*}')
    assert.is_true(value '^kairos_rule_seconds_sum{.*telling.*}' >= 0)
  end)

  it("measure from receipt to durable, and to the provider", function()
    local durable, delivered
    for line in text:gmatch "[^\n]+" do
      if line:find "^kairos_[%w_]*durable[%w_]*_count" then durable = tonumber(line:match "(%S+)$") end
      if line:find "^kairos_[%w_]*deliver[%w_]*_count" or line:find "^kairos_[%w_]*provider[%w_]*_count" then
        delivered = tonumber(line:match "(%S+)$")
      end
    end
    assert.is_true(durable and durable > 0, "no histogram to durable")
    assert.is_true(delivered and delivered > 0, "no histogram to the provider")
  end)

  it("count deliveries by provider and outcome", function()
    local name = "^kairos_deliver[%w_]*_total{.*"
    assert.equal(1, value(name .. "files.*accepted") or value(name .. "accepted.*files"))
  end)

  it("show queues, log, store and Lua's memory", function()
    assert.is_true(value "^kairos_log_bytes" > 0)
    assert.is_true(value "^kairos_lua_bytes" > 0)
    assert.is_true(value "^kairos_store_bytes" >= 0)
    assert.equal(0, value "^kairos_events_in_flight")
    assert.equal(1, value "^kairos_up")
  end)

  it("hold no personal data", function()
    assert.falsy(text:find("ada", 1, true))
  end)

  it("keep counters from going back when a rule file fails again and again", function()
    local before = value '^kairos_rule_errors_total'
    for _ = 1, 5 do host:accept { type = "tell", user = "cid", payload = { fail = true } } end
    text = host:get("/metrics").body
    assert.equal(before + 5, value '^kairos_rule_errors_total')
  end)
end)

describe("a scrape", function()
  it("does not wait for the store to be measured", function()
    local folder = files.temporary()
    local hold = folder .. "/hold"
    files.write(hold, "")
    local host = Host.start { env = { KAIROS_FAILPOINTS = "store.measure=hold:" .. hold .. "@2*0" } }
    for _ = 1, 3 do
      assert.equal(200, host:get("/metrics").status)
    end
    os.remove(hold)
    host:stop()
    host:remove()
    files.remove(folder)
  end)
end)
