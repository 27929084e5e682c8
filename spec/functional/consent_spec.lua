-- Consent by purpose: what a user said is heard, by rules and by the gate, whenever it arrives.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local process = require "spec.functional.support.process"
local socket = require "socket"

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    local p = event.payload
    if p.ask then user:set("answer", tostring(user:consents(p.ask, p.on))) end
    user:send { channel = p.channel or "push", template = "said", data = { text = p.text }, purpose = p.purpose }
  end,
}
]]

local purposes = {
  { name = "newsletter", consent = "opt_in" },
  { name = "offers", consent = "opt_out" },
  { name = "terms", consent = "none" },
}

local function tell(user, text, more)
  local payload = { text = text }
  for name, value in pairs(more or {}) do payload[name] = value end
  return { type = "tell", user = user, payload = payload }
end
local function consent(word, user, purpose, more)
  local event = { type = "consent." .. word, user = user, payload = { purpose = purpose } }
  for name, value in pairs(more or {}) do
    if name == "at" then event.at = value else event.payload[name] = value end
  end
  return event
end

describe("consent", function()
  local host
  setup(function() host = Host.start { rules = { telling = telling }, config = { purposes = purposes } } end)
  teardown(function() host:remove() end)

  local function reasons(user)
    local found = {}
    for _, decision in ipairs(host:ask("why", user)) do
      if decision.message_id then found[#found + 1] = decision.reason end
    end
    return found
  end

  it("is asked for as the purpose says", function()
    host:accept(tell("ada", "1", { purpose = "newsletter" }), tell("ada", "2", { purpose = "offers" }),
      tell("ada", "3", { purpose = "terms" }), tell("ada", "4"), tell("ada", "5", { purpose = "transactional" }))
    assert.same({ "2", "3", "4", "5" }, host:said("ada", 4))
    assert.same({ "consent", "", "", "", "" }, reasons "ada")
    host:accept(consent("granted", "ada", "newsletter"), consent("withdrawn", "ada", "offers"),
      consent("withdrawn", "ada", "terms"), consent("withdrawn", "ada", "marketing"),
      tell("ada", "6", { purpose = "newsletter" }), tell("ada", "7", { purpose = "offers" }),
      tell("ada", "8", { purpose = "terms" }), tell("ada", "9"))
    assert.same({ "2", "3", "4", "5", "6", "8" }, host:said("ada", 6))
    assert.same({ "consent", "", "", "", "", "", "consent", "", "consent" }, reasons "ada")
  end)

  it("is of a channel, or of every one", function()
    host:accept(consent("granted", "bob", "newsletter", { channel = "sms" }), tell("bob", "1", { purpose = "newsletter" }),
      tell("bob", "2", { purpose = "newsletter", channel = "sms" }),
      tell("bob", "ask", { purpose = "terms", ask = "newsletter" }))
    assert.same({ "2", "ask" }, host:said("bob", 2))
    assert.equal("false", host:ask("user", "bob").attributes.answer)
    host:accept(tell("bob", "ask", { purpose = "terms", ask = "newsletter", on = "sms" }))
    assert.equal("true", host:ask("user", "bob").attributes.answer)
  end)

  it("goes by when it was said, not by when it was heard", function()
    local now = Host.now()
    host:accept(consent("withdrawn", "cid", "offers", { at = now - 1000 }),
      consent("granted", "cid", "offers", { at = now - 2000 }), tell("cid", "1", { purpose = "offers" }),
      consent("granted", "cid", "offers", { at = now - 500, source = "preferences" }),
      tell("cid", "2", { purpose = "offers" }))
    assert.same({ "2" }, host:said "cid")
    assert.same({ "consent", "" }, reasons "cid")
    local known = host:ask("user", "cid").consents
    assert.equal(1, #known)
    assert.same({ purpose = "offers", channel = "*", consent = "granted", at = now - 500, source = "preferences" }, known[1])
    local text = host:command("why", "cid").out
    for _, line in ipairs { "consent withdrawn: offers on every channel (event)",
      "consent granted: offers on every channel (preferences)" } do
      assert.truthy(text:find(line, 1, true), text)
    end
  end)

  it("never lifts a suppression", function()
    host:accept({ type = "message.unsubscribed", user = "dan" }, consent("granted", "dan", "newsletter"),
      tell("dan", "1", { purpose = "newsletter" }), tell("dan", "2", { purpose = "transactional" }))
    assert.same({ "suppressed", "suppressed" }, reasons "dan")
  end)

  it("is taken in however full the user's record is", function()
    local novels = {}
    for index = 1, 40 do novels["novel_" .. index] = ("x"):rep(1800) end
    host:accept { type = "identify", user = "full", payload = novels }
    for size = 9, 0, -1 do host:accept { type = "identify", user = "full", payload = { filler = ("y"):rep(2 ^ size) } } end
    host:accept(consent("withdrawn", "full", "offers"), tell("full", "1", { purpose = "offers" }))
    assert.same({ "consent" }, reasons "full")
  end)

  it("comes by command, and lasts", function()
    local result = host:command("consent", "eve", "grant", "newsletter", "--channel", "push")
    assert.equal(0, result.status, result.err)
    host:kill()
    host:run()
    host:accept(tell("eve", "1", { purpose = "newsletter" }), tell("eve", "no", { purpose = "newsletter", channel = "sms" }))
    assert.same({ "1" }, host:said "eve")
    assert.equal(0, host:command("consent", "eve", "withdraw", "newsletter").status)
    host:accept(tell("eve", "no", { purpose = "newsletter" }))
    assert.same({ "", "consent", "consent" }, reasons "eve")
    local last = host:ask("why", "eve")
    assert.truthy(last[#last].checks.consent:find("^newsletter withdrawn .* %(operator%)$"), last[#last].checks.consent)
    local replayed = {}
    for index, run in ipairs(host:ask("why", "eve", "--replay")) do replayed[index] = run.decision end
    assert.same({ "send", "skip", "skip" }, replayed)
  end)

  it("says what is wrong with a word that it cannot take", function()
    local result = host:command("consent", "fay", "grant", "newsleter")
    assert.equal(1, result.status)
    local known = "there are newsletter, offers, terms, marketing, transactional"
    assert.truthy(result.err:find('no purpose "newsleter"; ' .. known, 1, true), result.err)
    assert.equal(1, host:command("consent", "fay", "grant", "offers", "--channel", "fax").status)
    local before = #host:dead()
    host:accept({ type = "consent.granted", user = "fay" }, consent("withdrawn", "fay", "offers", { channel = "fax" }))
    local letters = host:dead(before + 2)
    local errors = {}
    for _, letter in ipairs(letters) do errors[#errors + 1] = letter.error end
    errors = table.concat(errors, "\n")
    assert.truthy(errors:find("/payload/purpose of consent.granted must name a purpose", 1, true), errors)
    assert.truthy(errors:find("/payload/channel of consent.withdrawn must be email, sms, push or webhook", 1, true), errors)
    host:accept(tell("fay", "1", { purpose = "newsleter" }))
    letters = host:dead(before + 3)
    local found
    for _, letter in ipairs(letters) do
      local wanted = "no purpose `newsleter`; did you mean `newsletter`?; there are: newsletter, offers"
      found = found or letter.error:find(wanted, 1, true)
    end
    assert.truthy(found)
  end)
end)

describe("consent withdrawn while a message waits", function()
  it("cancels it, on its channel and for its purpose alone", function()
    local sink = Sink.start()
    local host = Host.start { rules = { telling = telling }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = purposes,
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    } }
    host:command "pause"
    local function hook(user, text, purpose) return tell(user, text, { purpose = purpose, channel = "webhook" }) end
    local now = Host.now()
    host:accept(hook("ada", "offer", "offers"), hook("ada", "terms", "terms"), hook("bob", "offer", "offers"),
      hook("cid", "offer", "offers"))
    host:accept(consent("withdrawn", "ada", "offers"), consent("withdrawn", "bob", "offers", { channel = "sms" }),
      consent("granted", "cid", "offers", { at = now }))
    -- Late, and overturned already.
    host:accept(consent("withdrawn", "cid", "offers", { at = now - 1000 }))
    socket.sleep(0.1)
    host:command "resume"
    assert.equal(3, #sink:await(3))
    socket.sleep(0.2)
    assert.equal(3, #sink:requests())
    local outcome
    for _, decision in ipairs(host:ask("why", "ada")) do
      if decision.purpose == "offers" and decision.message_id then outcome = decision.outcomes[1] end
    end
    assert.equal("cancelled", outcome.outcome)
    assert.equal("consent withdrawn", outcome.detail)
    host:remove()
    sink:remove()
  end)

  it("cancels it also where it came while the message lay in the store", function()
    local sink = Sink.start()
    local host = Host.start { rules = { telling = telling }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = purposes,
      delivery = { paused = true },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    } }
    host:accept(tell("ada", "1", { purpose = "offers", channel = "webhook" }),
      tell("bob", "2", { purpose = "offers", channel = "webhook" }))
    host:kill()
    host.config.purposes[2].consent = "opt_in"
    host:rewrite_config()
    host:run()
    host:accept(consent("granted", "bob", "offers"))
    host:restart()
    host:command "resume"
    assert.equal(1, #sink:await(1))
    socket.sleep(0.2)
    assert.equal(1, #sink:requests())
    assert.equal("cancelled", host:ask("why", "ada")[1].outcomes[1].outcome)
    host:remove()
    sink:remove()
  end)

  it("cancels it also where the configuration has its purpose no more", function()
    local sink = Sink.start()
    local host = Host.start { rules = { telling = telling }, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
      purposes = { purposes[1], { name = "offers", consent = "opt_out" } },
      delivery = { paused = true },
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { webhook = "hook" },
    } }
    for index, user in ipairs { "ada", "bob", "cid" } do
      host:accept(tell(user, tostring(index), { purpose = "offers", channel = "webhook" }))
    end
    host:accept(consent("granted", "cid", "offers"))
    table.remove(host.config.purposes, 2)
    host:rewrite_config()
    host:restart()
    host:accept(consent("withdrawn", "ada", "offers"))
    host:command "resume"
    assert.equal(2, #sink:await(2))
    assert.truthy(process.eventually(10 * Host.patience, function()
      return host:ask("why", "ada")[1].outcomes[1].outcome == "cancelled"
    end))
    assert.equal(2, #sink:requests())
    host:remove()
    sink:remove()
  end)
end)
