-- What people are told of a journey: live, afterwards, and by a replay; and by the record of its user.
local Host = require "spec.functional.support.host"
local fan_outs = require "spec.functional.support.fan_outs"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"

local RULES = {
  carts = [[
    local kairos = require "kairos"
    local tone = kairos.experiment { name = "tone", variants = { "kind", "brisk" },
      goal = { on = "order.completed", within = "7d" } }
    local waiting = kairos.segment { name = "waiting", member = function(user) return user.cart == true end }
    return { waiting, kairos.journey {
      name = "carts", start = { on = "cart.updated" }, key = "payload.cart_id",
      exit = { on = "order.completed", where = function(event, journey) return event.payload.cart_id == journey.key end },
      run = function(journey, user)
        journey:set("cart", true)
        journey:wait "100ms"
        local offer = journey:split { name = "offer", one = 50, two = 50 }
        journey:send { channel = "push", template = "said", data = { text = offer .. user:variant(tone) } }
        journey:emit { type = "cart.reminded", payload = { offer = offer } }
        if not journey:wait_for { on = "message.clicked", within = "200ms" } then
          journey:send { channel = "push", template = "said", data = { text = "again" } }
        end
        journey:wait "1h"
      end,
    } }
  ]],
}

RULES.drops = [[
  local kairos = require "kairos"
  local watchers = kairos.interest { name = "watchers", of = "cart.updated", over = "30d" }
  return kairos.rule { on = "price.dropped", for_each = watchers:of(), act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = "cheaper" } }
  end }
]]

describe("a journey", function()
  local host
  setup(function() host = Host.start { rules = RULES } end)
  teardown(function() host:remove() end)

  --- Ada's cart: reminded twice, then bought.
  local function story(user)
    host:accept { type = "cart.updated", user = user, payload = { cart_id = "c1" } }
    host:said(user, 2)
    host:accept { type = "order.completed", user = user, payload = { cart_id = "c1" } }
  end

  it("is shown live, from its beginning to its end, with what it emits and the experiments it asks", function()
    local stream, answer = look.connect(host, { command = "tail", unmask = true, user = "ada" })
    assert(answer.ok, answer.error)
    local reasons, others = {}, {}
    story "ada"
    repeat
      local line = assert(stream:receive())
      if line.what == "journey" then
        reasons[#reasons + 1] = ("%s %s %s: %s"):format(line.campaign, line.key, line.reason, line.step)
        assert.equal(line.reason ~= "exited", line.due ~= nil)
      end
      others[#others + 1] = line.what .. " " .. (line.type or line.experiment or "")
    until line.what == "journey" and line.reason == "exited"
    stream:close()
    assert.same({ 'carts c1 began: wait "100ms"', "carts c1 waits: wait_for message.clicked within 200ms",
      'carts c1 waits: wait "1h"', 'carts c1 exited: wait "1h"' }, reasons)
    local shown = table.concat(others, ", ")
    for _, wanted in ipairs { "event segment.entered:waiting", "event cart.reminded", "exposure tone", "goal tone" } do
      assert.truthy(shown:find(wanted, 1, true), wanted .. " is not in: " .. shown)
    end
    stream = look.connect(host, { command = "tail", campaign = "carts", reason = "exited", unmask = true })
    host:accept { type = "cart.updated", user = "bea", payload = { cart_id = "c2" } }
    host:accept { type = "order.completed", user = "bea", payload = { cart_id = "c2" } }
    local line = stream:receive()
    assert.same({ "journey", "bea", "c2" }, { line.what, line.user, line.key })
    stream:close()
  end)

  it("is shown beside fan-outs, which are as they begin", function()
    local stream = look.connect(host, { command = "tail", campaign = "drops", unmask = true })
    host:accept { type = "price.dropped", subject = "K1" }
    local line = stream:receive()
    assert.same({ "fan_out", "K1", "began" }, { line.what, line.subject, line.reason })
    assert.equal(line.id, host:ask("fanouts")[1].id)
    -- Or it reaches those of the stories below, too.
    fan_outs.await(host, fan_outs.is "done")
    stream:close()
  end)

  it("is told by why: the step of a message, what its split and wait answered, and why it ended", function()
    story "cleo"
    local decisions
    process.eventually(10 * host.patience, function()
      decisions = host:ask("why", "cleo")
      return decisions[#decisions].decision == "journey ended"
    end)
    local sent = {}
    for _, decision in ipairs(decisions) do
      if decision.decision == "send" then sent[#sent + 1] = decision.facts end
    end
    assert.equal(2, #sent)
    assert.equal("c1, step 5", sent[1].journey)
    assert.truthy(sent[1]["split offer"] == "one" or sent[1]["split offer"] == "two")
    assert.equal(sent[1]["split offer"], sent[2]["split offer"])
    assert.truthy(sent[2]["variant [tone]"])
    assert.equal("c1, step 8", sent[2].journey)
    local nothing = sent[2]["wait_for message.clicked within 200ms"]
    assert.equal(require("cjson").null, nothing)
    local last = decisions[#decisions]
    assert.same({ "carts", "c1", "exited", "order.completed", 'wait "1h"', 8 },
      { last.campaign, last.key, last.ended, last.reason, last.step, last.steps })
    local words = host:command("why", "cleo", "carts").out
    assert.truthy(words:find("carts's journey c1 ended: exited, order.completed", 1, true), words)
    assert.truthy(words:find("journey: c1, step 5", 1, true), words)
  end)

  it("is replayed step by step", function()
    story "dora"
    local rows
    process.eventually(10 * host.patience, function()
      rows = {}
      for _, row in ipairs(host:ask("why", "dora", "carts", "--replay")) do
        if row.journey then rows[#rows + 1] = ("%s %s: %s"):format(row.journey, row.decision, row.reason) end
      end
      return #rows >= 3
    end)
    assert.same({ 'c1 none: it waits: wait "100ms"', "c1 send: it waits: wait_for message.clicked within 200ms",
      'c1 send: it waits: wait "1h"' }, rows)
    assert.truthy(host:command("why", "dora", "carts", "--replay").out:find(
      'carts\'s journey c1 asked for a message, and the gate let it pass: it waits: wait "1h"', 1, true))
  end)

  it("stands in its user's record, in words", function()
    host:accept { type = "cart.updated", user = "eva", payload = { cart_id = "c9" } }
    host:said("eva", 2)
    local words = host:command("user", "eva").out
    assert.truthy(words:find('carts c9: waiting, wait "1h" %(line 17%) until .-; begun .-, 8 steps'), words)
    assert.truthy(words:find("waiting +since %d%d%d%d%-"), words)
  end)

  it("is looked at in a session: what an event would do to it, who is where, what experiments say", function()
    host:accept { type = "cart.updated", user = "gil", payload = { cart_id = "c1" } }
    host:said("gil", 2)
    local session = look.session(host)
    session:run ":unmask"
    local changes = session:value([[try { type = "cart.updated", user = "hal", payload = { cart_id = "c1" } }]]).changes
    local found = {}
    for _, change in ipairs(changes) do found[change.journey or change.segment or "…"] = change end
    assert.same({ journey = "carts", key = "c1", state = "waiting", step = 'wait "100ms"' }, found.carts)
    assert.equal("entered", found.waiting.change)
    changes = session:value([[try { type = "order.completed", user = "gil", payload = { cart_id = "c1" } }]]).changes
    for _, change in ipairs(changes) do found[change.journey or "…"] = change end
    assert.same({ journey = "carts", key = "c1", ended = "exited", reason = "order.completed" }, found.carts)
    local gil = session:value [[user "gil"]]
    assert.equal('wait "1h"', gil.journeys[1].step)
    assert.equal("tone", gil.experiments[1].experiment)
    local members = {}
    for _, member in ipairs(session:value([[segment "waiting"]]).members) do members[member.user] = member.since end
    assert.equal(gil.segments.waiting, members.gil)
    assert.is_nil(members.hal)
    assert.equal("waiting", session:value("segments()")[1].segment)
    assert.equal("tone", session:value("experiments()")[1].experiment)
    assert.truthy(session:value([[experiment "tone"]]).exposures >= 1)
    local told = session:value [[user("gil"):journey "carts"]]
    assert.equal(1, #told)
    local words = {}
    for _, step in ipairs(told[1].history) do words[#words + 1] = step.words end
    assert.same({ "set cart", 'wait "100ms"', "split offer", "variant [tone]" }, { unpack(words, 1, 4) })
    assert.equal("c1", told[1].key)
    local counts = session:value([[journeys "carts"]]).counts
    assert.truthy(#counts >= 1 and counts[1].campaign == "carts")
    assert.equal("drops", session:value("fan_outs()")[1].campaign)
    assert.truthy(session:run([[user("gil"):move("carts", "c1")]]).error:find ":write")
    session:run ":write"
    assert.equal("carts", session:value([[user("gil"):move("carts", "c1")]]).campaign)
    assert.truthy(session:run([[user("gil"):finish("carts", "c1", "no more")]]).error:find "journey")
    assert.truthy(session:run([[experiment "tune"]]).error:find("there is no experiment \"tune\"", 1, true))
    assert.truthy(session:run([[segment "wating"]]).error:find("did you mean `waiting`", 1, true))
    session:close()
  end)

  it("is shown by kairos tail in words", function()
    local output = host.directory .. "/tail.out"
    local watching = process.start { command = { Host.binary, "tail", "--config", host.config_file, "--reason", "began" },
      output = output }
    assert.truthy(process.eventually(20 * host.patience, function()
      host:accept { type = "cart.updated", user = "fay" .. Host.now(), payload = { cart_id = "c1" } }
      return files.read(output):find 'journey +~%x+  carts  c1  began  wait "100ms" until %d%d%d%d'
    end), files.read(output))
    watching:kill()
  end)
end)
