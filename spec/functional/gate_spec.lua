-- One door out: may this message go to this user, now?
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local socket = require "socket"

local SECOND, DAY = 1000, 86400 * 1000

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    local p = event.payload
    user:send { channel = p.channel or "push", template = p.template or "said", data = { text = p.text },
      once_per = p.once_per, expires_in = p.expires_in }
  end,
}
]]

describe("the gate", function()
  local host
  setup(function()
    host = Host.start { rules = { telling = { ["rule.lua"] = telling, ["other.txt"] = "{{text}}" } } }
  end)
  teardown(function() host:remove() end)

  local function tell(user, text, more)
    local payload = { text = text }
    for name, value in pairs(more or {}) do payload[name] = value end
    local at = payload.at
    payload.at = nil
    return { type = "tell", user = user, at = at, payload = payload }
  end
  --- Reasons of all decisions about a user, in order: "" where it was sent.
  local function reasons(user, ...)
    local found = {}
    for index, decision in ipairs(host:ask("why", user, ...)) do
      found[index] = decision.decision == "suppressed" and "(suppressed)" or decision.reason
    end
    return found
  end
  local function silent(user)
    -- A message to somebody else, decided after, has gone out; then ours would have, too.
    host:accept(tell("marker-of-" .. user, "marker"))
    assert.same({ "marker" }, host:said("marker-of-" .. user))
    assert.same({}, host:said(user, 0))
  end

  describe("once_per", function()
    it("lets a message of a template through once in its time", function()
      local now = Host.now() - 8 * DAY
      host:accept(
        tell("ada", "1", { once_per = "7d", at = now }), tell("ada", "2", { once_per = "7d", at = now + DAY }),
        tell("ada", "3", { once_per = "7d", at = now + 7 * DAY - 1 }), tell("ada", "4", { once_per = "7d", at = now + 7 * DAY }))
      assert.same({ "1", "4" }, host:said("ada", 2))
      assert.same({ "", "once_per", "once_per", "" }, reasons "ada")
    end)

    it("is each template's own, and each user's", function()
      host:accept(tell("bob", "1", { once_per = "1d" }), tell("bob", "2", { once_per = "1d", template = "other" }),
        tell("cid", "3", { once_per = "1d" }))
      assert.same({ "1", "2" }, host:said("bob", 2))
      assert.same({ "3" }, host:said "cid")
    end)

    it("holds across a power cut", function()
      host:accept(tell("dan", "1", { once_per = "1d" }))
      host:kill()
      host:run()
      host:accept(tell("dan", "2", { once_per = "1d" }), tell("dan", "3"))
      assert.same({ "1", "3" }, host:said("dan", 2))
    end)
  end)

  describe("suppression", function()
    for _, kind in ipairs { "message.bounced", "message.complained", "message.unsubscribed" } do
      it("follows from " .. kind .. ", on its channel", function()
        local user = "of-" .. kind
        host:accept({ type = kind, user = user, payload = { channel = "push" } }, tell(user, "no"),
          tell(user, "yes", { channel = "sms" }))
        assert.same({ "yes" }, host:said(user))
        assert.same({ "(suppressed)", "suppressed", "" }, reasons(user))
      end)
    end

    it("without a channel is of every channel", function()
      host:accept({ type = "message.unsubscribed", user = "all" }, tell("all", "no"), tell("all", "no", { channel = "sms" }))
      silent "all"
    end)

    it("of a channel that there is not is of every channel: it would hold nothing back, and each name would take room", function()
      host:accept({ type = "message.bounced", user = "odd", payload = { channel = "Push" } },
        { type = "message.bounced", user = "odd", payload = { channel = ("x"):rep(60000) } }, tell("odd", "no"))
      silent "odd"
      local suppressions = host:ask("user", "odd").suppressions
      assert.equal(1, #suppressions)
      assert.equal("*", suppressions[1].channel)
    end)

    it("is taken in however full the user's record is", function()
      local novels = {}
      for index = 1, 40 do novels["novel_" .. index] = ("x"):rep(1800) end
      host:accept { type = "identify", user = "full", payload = novels }
      for size = 9, 0, -1 do host:accept { type = "identify", user = "full", payload = { filler = ("y"):rep(2 ^ size) } } end
      assert.truthy(host:dead(1)[1].error:find("record", 1, true))
      host:accept({ type = "message.unsubscribed", user = "full" }, tell("full", "no"))
      silent "full"
    end)

    it("comes and goes by command, and lasts", function()
      local result = host:command("suppress", "cmd", "push", "--reason", "asked on the phone")
      assert.equal(0, result.status, result.err)
      host:accept(tell("cmd", "no"))
      host:kill()
      host:run()
      host:accept(tell("cmd", "no"))
      silent "cmd"
      assert.equal("asked on the phone", host:ask("why", "cmd")[1].reason)
      assert.equal(0, host:command("unsuppress", "cmd", "push").status)
      host:accept(tell("cmd", "yes"))
      assert.same({ "yes" }, host:said "cmd")
      result = host:command("suppress", "cmd", "psuh")
      assert.equal(1, result.status)
      assert.truthy(result.err:find('there is no channel "psuh"; there are email, sms, push, webhook', 1, true), result.err)
      host:accept(tell("cmd", "still"))
      assert.same({ "still", "yes" }, host:said("cmd", 2))
    end)
  end)

  describe("expiry", function()
    it("refuses what would go too late: counted from the decision's own time, judged by the clock", function()
      host:accept(tell("exp", "kept", { expires_in = "1h" }))
      assert.same({ "kept" }, host:said "exp")
    end)
  end)

  it("says why for each answer", function()
    host:accept(tell("why", "1", { once_per = "1d" }), tell("why", "2", { once_per = "1d" }))
    assert.same({ "1" }, host:said "why")
    local sent, skipped = unpack(host:ask("why", "why", "said"))
    assert.equal("send", sent.decision)
    assert.equal("telling", sent.campaign)
    assert.equal("telling/rule.lua", sent.rule)
    assert.equal("said", sent.template)
    assert.equal("push", sent.channel)
    assert.equal("files", sent.provider)
    assert.is_number(sent.generation)
    assert.equal("skip", skipped.decision)
    assert.equal("once_per", skipped.reason)
    assert.is_string(skipped.checks.once_per)
    assert.is_true(sent.at <= skipped.at)
    assert.equal(3, host:command("why", "why", "no_such_template").status)
    local text = host:command("why", "why").out
    for _, word in ipairs { "telling", "said", "once_per", "accepted" } do assert.truthy(text:find(word, 1, true), text) end
  end)
end)

describe("the gate at hand-over", function()
  local host, sink
  before_each(function()
    sink = Sink.start()
    host = Host.new { rules = { telling = telling }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      providers = {
        { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", rate = "10/1s", concurrency = 4 },
      },
      routes = { webhook = "hook" },
    } }
  end)
  after_each(function()
    host:remove()
    sink:remove()
  end)

  local function tell(user, more)
    local payload = { text = "hello", channel = "webhook" }
    for name, value in pairs(more or {}) do payload[name] = value end
    return { type = "tell", user = user, payload = payload }
  end
  local function tell_all(count, more)
    local list = {}
    for index = 1, count do list[index] = tell("user-" .. index, more) end
    host:accept(unpack(list))
  end

  it("keeps to the provider's rate", function()
    host:run()
    tell_all(25)
    local requests = sink:await(25, 10 * Host.patience)
    assert.equal(25, #requests)
    -- 10 at once, the other 15 at ten a second.
    assert.is_true(requests[25].at - requests[1].at >= 1.3 * SECOND)
    for first = 1, 25 - 12 do
      assert.is_true(requests[first + 12].at - requests[first].at >= 100, "more than 12 within 100 ms")
    end
  end)

  it("keeps to its concurrency", function()
    host.config.providers[1].rate = nil
    host:rewrite_config()
    sink:answer { default = { act = "hold" } }
    host:run()
    tell_all(12)
    sink:await(4)
    socket.sleep(0.2)
    assert.equal(4, #sink:requests())
    sink:answer { default = { status = 200 } }
    assert.equal(12, #sink:await(12))
  end)

  it("holds everything while the host is paused, and lets it go afterwards", function()
    host:run()
    assert.equal(0, host:command("pause").status)
    tell_all(3)
    socket.sleep(0.3)
    assert.equal(0, #sink:requests())
    assert.equal(0, host:command("resume").status)
    assert.equal(3, #sink:await(3))
  end)

  it("holds it through a crash and a restart, until somebody lets it go", function()
    host:run()
    assert.equal(0, host:command("pause").status)
    tell_all(3)
    host:kill()
    host:run()
    host:restart()
    assert.truthy(host:output():find("a provider is paused, as an operator said", 1, true))
    socket.sleep(0.3)
    assert.equal(0, #sink:requests())
    assert.equal(0, host:command("resume").status)
    assert.equal(3, #sink:await(3))
    host:restart()
    host:accept(tell "later")
    assert.equal(4, #sink:await(4))
  end)

  it("starts paused when the configuration says so", function()
    host.config.delivery = { paused = true }
    host:rewrite_config()
    host:run()
    tell_all(1)
    socket.sleep(0.3)
    assert.equal(0, #sink:requests())
    host:command "resume"
    assert.equal(1, #sink:await(1))
  end)

  it("does not send what expired while it waited", function()
    host:run()
    host:command "pause"
    host:accept(tell("exp", { expires_in = "300ms" }), tell("fresh", { expires_in = "1h" }))
    socket.sleep(0.5)
    host:command "resume"
    assert.equal(1, #sink:await(1))
    socket.sleep(0.2)
    assert.equal(1, #sink:requests())
    assert.equal("expired", host:ask("why", "exp")[1].outcomes[1].outcome)
  end)

  it("does not send to a user who unsubscribed while it waited", function()
    host:run()
    host:command "pause"
    host:accept(tell "gone", tell "here")
    host:accept { type = "message.unsubscribed", user = "gone", payload = { channel = "webhook" } }
    socket.sleep(0.1)
    host:command "resume"
    assert.equal(1, #sink:await(1))
    socket.sleep(0.2)
    assert.equal(1, #sink:requests())
    assert.equal("cancelled", host:ask("why", "gone")[1].outcomes[1].outcome)
  end)

  it("keeps a host-wide limit over all users, which begins empty", function()
    host.config.providers[1].rate = nil
    host:remove()
    local limited = telling:gsub("expires_in = p.expires_in", 'limit = "10/1s"')
    host = Host.start { rules = { telling = limited }, env = host.env, config = {
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    } }
    local began = Host.now()
    tell_all(20)
    local requests = sink:await(20, 10 * Host.patience)
    assert.equal(20, #requests)
    assert.is_true(requests[20].at - began >= 1.8 * SECOND)
    for first = 1, 20 - 12 do
      assert.is_true(requests[first + 12].at - requests[first].at >= 1 * SECOND, "more than 12 within a second")
    end
  end)

end)
