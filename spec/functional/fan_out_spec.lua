-- Fan-outs: an event about a thing reaches every user who cares for it, each once, whatever happens meanwhile.
local fan_outs = require "spec.functional.support.fan_outs"
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"

local watch, await_fan_out, is = fan_outs.watch, fan_outs.await, fan_outs.is

--- @param more  further fields of the rule
local function price_drop(more)
  return ([[
local kairos = require "kairos"
local watchers = kairos.interest { name = "sku_watchers", of = { "product.viewed", "product.favourited" }, by = "payload.sku",
  over = "30d" }
local orders = kairos.window { of = "order.completed", over = "30d" }
return kairos.rule {
  name = "price_drop",
  on = "price.dropped",
  for_each = function(event) return watchers:of(event.payload.sku) end,
  %s
  when = function(event, user) return user:count(orders) == 0 end,
  act = function(event, user)
    user:send { channel = "push", template = "said",
      data = { text = ("%%s now %%d, for %%s"):format(event.payload.sku, event.payload.price, user.first_name or "you") } }
  end,
}
]]):format(more or "")
end

local function drop(fields)
  fields = fields or {}
  return { type = "price.dropped", subject = "K1", id = fields.id,
    payload = { sku = fields.sku or "K1", price = fields.price or 9 } }
end

--- Each user got one message, and only these did.
local function assert_each_once(host, count)
  local got = {}
  for _, message in ipairs(host:await_messages(count, 30)) do
    assert.is_nil(got[message.user_id], "twice: " .. message.user_id)
    got[message.user_id] = true
  end
  for index = 1, count do assert.is_true(got["w" .. index], "w" .. index .. " got nothing") end
end

describe("a fan-out", function()
  local host
  local function start(options)
    options.rules = options.rules or { price_drop = price_drop(options.more) }
    host = Host.start(options)
    return host
  end
  after_each(function() if host then host:remove() end end)

  it("reaches who cares for the thing, on his own record, and nobody else", function()
    start {}
    local soon = Host.now() + 1500
    host:accept({ type = "identify", user = "ada", payload = { first_name = "Ada" } },
      { type = "product.viewed", user = "ada", payload = { sku = "K1" } },
      { type = "product.favourited", user = "ben", payload = { sku = "K1" } },
      { type = "product.viewed", user = "cem", payload = { sku = "K2" } },
      { type = "product.viewed", user = "dot", payload = { sku = "K1" } },
      { type = "order.completed", user = "dot" },
      { type = "product.viewed", user = "eve", at = Host.now() - 29 * 86400000, payload = { sku = "K1" } },
      -- A late event shortens nothing.
      { type = "product.viewed", user = "eve", at = soon - 30 * 86400000, payload = { sku = "K1" } },
      { type = "product.viewed", user = "fay", at = soon - 30 * 86400000, payload = { sku = "K1" } },
      { type = "product.viewed", user = "gus", payload = { sku = "K1", } })
    process.eventually(10, function() return Host.now() > soon end) -- fay's interest ends
    host:accept(drop { id = "d1" })
    local fan_out = await_fan_out(host, is "done")
    assert.equal(5, fan_out.reached)
    assert.equal(5, fan_out.total)
    assert.same({ "price_drop", "K1", "interest:sku_watchers", "d1" },
      { fan_out.campaign, fan_out.subject, fan_out.over, fan_out.event_id })
    local bodies = {}
    for _, message in ipairs(host:await_messages(4)) do bodies[message.user_id] = message.body end
    assert.same({ ada = "K1 now 9, for Ada", ben = "K1 now 9, for you", eve = "K1 now 9, for you",
      gus = "K1 now 9, for you" }, bodies)
    -- Why: which fan-out, and of those who got nothing that the rule said no.
    local decision = host:ask("why", "ada")[1]
    assert.equal("d1", decision.cause)
    assert.equal(fan_out.id, decision.facts.fan_out.id)
    assert.equal("price.dropped", decision.facts.fan_out.event)
    assert.equal("K1", decision.facts.fan_out.subject)
    assert.equal(3, host:command("why", "dot").status)
    local runs = host:ask("why", "dot", "--replay")
    assert.equal("its `when` said no", runs[#runs].reason)
    runs = host:ask("why", "ada", "--replay")
    assert.equal("send", runs[#runs].decision)
    -- Of who did what began one it is said, too.
    host:accept { type = "price.dropped", id = "d0", user = "pat", payload = { sku = "K7", price = 1 } }
    process.eventually(10 * Host.patience, function() return #host:ask "fanouts" == 2 end)
    local said = host:command("why", "pat", "--replay").out
    assert.truthy(said:find("price_drop began a fan-out over", 1, true), said)
    assert.falsy(said:find "failed")
    -- The same event again begins nothing.
    assert.equal(1, host:post(Host.event(drop { id = "d1" })).json.duplicates)
    host:accept(drop { id = "d2", sku = "K9" })
    await_fan_out(host, function() return #host:ask "fanouts" == 3 end)
    assert.equal(4, #host:messages())
  end)

  it("reaches thousands through kill -9 again and again, each once", function()
    local COUNT = 3000
    start { more = 'pace = "1500/s",', config = { state = { checkpoint_every = "300ms", write_behind = "50ms" },
      log = { segment_age = "1s" } } }
    watch(host, COUNT)
    host:accept(drop())
    for kill = 1, 4 do
      await_fan_out(host, function(fan_out) return fan_out.reached >= kill * 450 end, 20)
      host:kill()
      host:run()
    end
    local fan_out = await_fan_out(host, is "done", 30)
    assert.equal(COUNT, fan_out.reached)
    assert_each_once(host, COUNT)
  end)

  it("is the same whether it ends before a user is durable or after", function()
    for _, point in ipairs { "fanout.reach", "fanout.reached" } do
      start { env = { KAIROS_FAILPOINTS = point .. "=kill@150" } }
      watch(host, 400)
      host:accept(drop())
      assert.is_true(process.eventually(10 * Host.patience, function() return not host.process:alive() end))
      host.env = {}
      host:run()
      await_fan_out(host, is "done", 20)
      assert_each_once(host, 400)
      host:remove()
      host = nil
    end
  end)

  it("goes on after a full disk", function()
    start { env = { KAIROS_FAILPOINTS = "log.write=enospc@40" }, more = 'pace = "400/s",' }
    watch(host, 800)
    host:accept(drop())
    local fan_out = await_fan_out(host, is "done", 30)
    assert.equal(800, fan_out.reached)
    assert_each_once(host, 800)
    assert.is_true(host:ask("status").recoveries >= 1)
  end)

  it("is paced, paused, resumed and stopped, and says how far it is", function()
    start { more = 'pace = "20/s",' }
    watch(host, 900)
    host:accept(drop())
    local fan_out = await_fan_out(host, function(found) return found.reached >= 10 and found.total == 900 end)
    assert.equal("runs", fan_out.state)
    assert.equal("20/s", fan_out.pace)
    local paused = host:command("fanouts", "pause", fan_out.id:sub(1, 8), "--reason", "wrong price")
    assert.equal(0, paused.status, paused.err)
    fan_out = await_fan_out(host, is "paused")
    assert.truthy(fan_out.reason:find("wrong price", 1, true))
    assert.is_true(fan_out.reached < 900)
    -- Also after a restart.
    host:restart()
    fan_out = await_fan_out(host, is "paused")
    assert.equal(fan_out.reached, #host:await_messages(fan_out.reached))
    assert.equal(0, host:command("fanouts", "resume", fan_out.id).status)
    local before = fan_out.reached
    fan_out = await_fan_out(host, function(found) return found.reached > before end)
    assert.truthy(host:command("fanouts").out:find("of 900", 1, true))
    local one = host:command("fanouts", fan_out.id:sub(1, 6)).out
    assert.truthy(one:find("began%s+%d%d%d%d%-%d%d%-%d%d "), one)
    assert.truthy(one:find("reached%s+%d+ of 900 %("), one)
    assert.equal(0, host:command("fanouts", "stop", fan_out.id).status)
    fan_out = await_fan_out(host, is "stopped")
    assert.is_true(fan_out.reached < 900)
    assert.equal(fan_out.reached, #host:await_messages(fan_out.reached))
    local refused = host:command("fanouts", "resume", fan_out.id)
    assert.equal(1, refused.status)
    assert.truthy(refused.err:find("has ended", 1, true))
    assert.equal(3, host:command("fanouts", "stop", "0123456789").status)
    assert.truthy(host:command("fanouts", "stop", "xyz").err:find("no fan-out's id", 1, true))
  end)

  it("begins, and is steered, in a host that has just started", function()
    -- Its thread has not read yet which there are, and the store is behind with its writes.
    local slow = "fanout.tick=error*200,store.write=sleep:300@1*4"
    start { more = 'pace = "5/s",' }
    watch(host, 200)
    host:restart { KAIROS_FAILPOINTS = slow }
    host:accept(drop())
    local fan_out = await_fan_out(host, function(found) return found.reached >= 1 end)
    host:restart { KAIROS_FAILPOINTS = slow }
    local paused = host:command("fanouts", "pause", fan_out.id)
    assert.equal(0, paused.status, paused.err)
    assert.equal("paused", host:ask("fanouts")[1].state)
    local stopped = host:command("fanouts", "stop", fan_out.id)
    assert.equal(0, stopped.status, stopped.err)
    assert.equal("stopped", host:ask("fanouts")[1].state)
  end)

  it("that is stopped counts those who were under way", function()
    start { more = 'pace = "50/s",', env = { KAIROS_FAILPOINTS = "log.fsync=sleep:100@3*1000" } }
    watch(host, 900)
    host:accept(drop())
    local fan_out = await_fan_out(host, function(found) return found.reached >= 1 end)
    local stopped = host:command("fanouts", "stop", fan_out.id)
    assert.equal(0, stopped.status, stopped.err)
    fan_out = host:ask("fanouts")[1]
    assert.equal("stopped", fan_out.state)
    assert.is_true(fan_out.reached < 900)
    host:restart()
    assert.equal(fan_out.reached, host:ask("fanouts")[1].reached)
    assert.equal(fan_out.reached, #host:await_messages(fan_out.reached))
  end)

  it("ends when its time is over", function()
    start { more = 'pace = "20/s", expires_in = "4s",' }
    watch(host, 600)
    host:accept(drop())
    local fan_out = await_fan_out(host, is "expired", 20)
    assert.is_true(fan_out.reached > 0 and fan_out.reached < 600)
    assert.equal(fan_out.reached, #host:await_messages(fan_out.reached))
  end)

  it("waits for a campaign that is paused, and ends with one that is gone", function()
    start { more = 'pace = "20/s",' }
    watch(host, 900)
    host:accept(drop())
    await_fan_out(host, function(found) return found.reached >= 10 end)
    assert.equal(0, host:command("pause", "--campaign", "price_drop", "--reason", "wrong price").status)
    local held = await_fan_out(host, function(found) return found.reason:find("wrong price", 1, true) ~= nil end)
    assert.is_true(held.reached < 900)
    assert.equal(0, host:command("resume", "--campaign", "price_drop").status)
    await_fan_out(host, function(found) return found.reached > held.reached end)
    files.write(host.rules .. "/price_drop/rule.lua",
      'return require "kairos".rule { name = "price_drop", on = "never", act = function() end }')
    assert.equal(0, host:command("reload").status)
    local stopped = await_fan_out(host, is "stopped")
    assert.truthy(stopped.reason:find("for_each", 1, true))
    assert.equal(stopped.reached, #host:await_messages(stopped.reached))
    files.remove(host.rules .. "/price_drop")
    files.write(host.rules .. "/other/rule.lua", price_drop 'pace = "20/s",':gsub('name = "price_drop"', 'name = "other"'))
    files.write(host.rules .. "/other/said.txt", "{{text}}")
    assert.equal(0, host:command("reload").status)
    host:accept(drop())
    await_fan_out(host, function(found) return found.campaign == "other" and found.reached >= 10 end)
    files.remove(host.rules .. "/other")
    files.write(host.rules .. "/third/rule.lua",
      'return require "kairos".rule { name = "third", on = "never", act = function() end }')
    assert.equal(0, host:command("reload").status)
    local gone = await_fan_out(host, is "stopped")
    assert.equal('campaign "other" is gone', gone.reason)
  end)

  it("leaves a dead letter for each user for whom its rule fails", function()
    start { rules = { price_drop = (price_drop():gsub('act = function%(event, user%)',
      '%0 if user.first_name == "Bad" then error "no" end')) } }
    watch(host, 20)
    host:accept({ type = "identify", user = "w7", payload = { first_name = "Bad" } })
    host:accept(drop { id = "d1" })
    local fan_out = await_fan_out(host, is "done")
    assert.equal(20, fan_out.reached)
    local letters = host:dead(1)
    assert.equal(1, #letters)
    assert.equal("w7", letters[1].user)
    assert.equal("d1", host:ask("dead", "show", letters[1].id).cause)
    host:accept({ type = "identify", user = "w7", payload = { first_name = "Good" } })
    assert.equal(0, host:command("dead", "retry", letters[1].id).status)
    assert_each_once(host, 20)
    local runs = host:ask("why", "w7", "--replay")
    assert.same({ "failed", "send" }, { runs[#runs - 1].decision, runs[#runs].decision })
  end)

  it("of another thing is another, though the events of both have one id", function()
    start { rules = {
      price_drop = (price_drop():gsub('act = function%(event, user%)',
        '%0 if user.first_name == "Bad" then error "no" end')),
      chase = [[
local kairos = require "kairos"
local watchers = kairos.interest { name = "chased", of = "product.viewed", by = "payload.sku", over = "30d" }
return kairos.journey {
  name = "chase",
  start = { on = "price.dropped", for_each = function(event) return watchers:of(event.payload.sku) end },
  again = "parallel",
  run = function(journey, _, event)
    journey:send { channel = "push", template = "said", data = { text = "chase " .. event.payload.sku } }
  end,
}
]] } }
    watch(host, 2, "K1")
    watch(host, 2, "K2")
    host:accept({ type = "identify", user = "w2", payload = { first_name = "Bad" } })
    local function drops(sku)
      return { type = "price.dropped", subject = sku, id = "42", payload = { sku = sku, price = 9 } }
    end
    host:accept(drops "K1", drops "K2")
    await_fan_out(host, function()
      local list = host:ask "fanouts"
      for _, fan_out in ipairs(list) do
        if fan_out.state ~= "done" then return false end
      end
      return #list == 4
    end)
    local function said(user, count)
      local texts, ids = {}, {}
      for _, message in ipairs(host:await_messages(count)) do
        if message.user_id == user then texts[#texts + 1] = message.body end
        assert.is_nil(ids[message.message_id], "two messages of one id")
        ids[message.message_id] = true
      end
      table.sort(texts)
      return texts
    end
    assert.same({ "K1 now 9, for you", "K2 now 9, for you", "chase K1", "chase K2" }, said("w1", 6))
    -- Each failure is one of its own, and is made good alone.
    local letters = host:dead(2)
    assert.equal(2, #letters)
    host:accept({ type = "identify", user = "w2", payload = { first_name = "Good" } })
    for _, letter in ipairs(letters) do assert.equal(0, host:command("dead", "retry", letter.id).status) end
    assert.same({ "K1 now 9, for Good", "K2 now 9, for Good", "chase K1", "chase K2" }, said("w2", 8))
    -- The log knows them by the ids that they went out with.
    local by_id = {}
    for _, decision in ipairs(host:ask("why", "w2")) do
      if decision.message_id then by_id[decision.message_id] = decision.cause end
    end
    for _, message in ipairs(host:messages()) do
      if message.user_id == "w2" then assert.equal("42", by_id[message.message_id]) end
    end
  end)

  it("reaches the members of a segment", function()
    start { rules = { vip = [[
local kairos = require "kairos"
return {
  kairos.segment { name = "vip", member = function(user) return user.plan == "gold" end },
  kairos.rule {
    name = "outage",
    on = "service.outage",
    for_each = kairos.segment.members "vip",
    act = function(event, user)
      user:send { channel = "push", template = "said", data = { text = "sorry" } }
    end,
  },
}
]] } }
    for index, plan in ipairs { "gold", "free", "gold" } do
      host:accept({ type = "identify", user = "w" .. index, payload = { plan = plan } })
    end
    host:accept({ type = "identify", user = "w3", payload = { plan = "free" } })
    host:accept({ type = "service.outage", subject = "shop" })
    assert.equal(1, await_fan_out(host, is "done").reached)
    assert_each_once(host, 1)
  end)

  it("is shown live, from its beginning over whom it reaches to its end, and tried in a session", function()
    start {}
    watch(host, 3)
    local output = host.directory .. "/tail.out"
    local words = process.start { command = { Host.binary, "tail", "--config", host.config_file }, output = output }
    assert.truthy(process.eventually(10 * Host.patience, function()
      host:accept { type = "identify", user = "w1" }
      return files.read(output):find("identify", 1, true)
    end), files.read(output))
    local stream, answer = look.connect(host, { command = "tail", unmask = true, events = false })
    assert(answer.ok, answer.error)
    local of_type = look.connect(host, { command = "tail", unmask = true, type = "price.dropped" })
    host:accept(drop { id = "d1" })
    local began, ended, reached, sent = nil, nil, {}, 0
    repeat
      local line = assert(stream:receive())
      if line.what == "fan_out" and line.reason == "began" then began = line end
      if line.what == "fan_out" and line.reason ~= "began" then ended = line end
      if line.what == "reached" then reached[line.user] = line end
      sent = sent + (line.what == "send" and 1 or 0)
    until ended
    stream:close()
    local fan_out = await_fan_out(host, is "done")
    assert.same({ "K1", "price_drop", "interest:sku_watchers", "K1", fan_out.id },
      { began.subject, began.campaign, began.over, began.key, began.id })
    assert.same({ "K1", "done", 3, fan_out.id }, { ended.subject, ended.reason, ended.reached, ended.id })
    for index = 1, 3 do
      local line = reached["w" .. index]
      assert.same({ "price_drop", "price.dropped", "d1", fan_out.id }, { line.campaign, line.type, line.id, line.fan_out })
    end
    assert.equal(3, sent)
    -- What an event leads to is what it leads to for each.
    local kinds = {}
    for _ = 1, 8 do
      local line = assert(of_type:receive())
      kinds[line.what] = (kinds[line.what] or 0) + 1
    end
    of_type:close()
    assert.same({ event = 1, fan_out = 1, reached = 3, send = 3 }, kinds)
    assert.truthy(process.eventually(10 * Host.patience, function()
      local shown = files.read(output)
      return shown:find "fan_out +K1  price_drop  K1  began  interest:sku_watchers"
        and shown:find "reached +~%x+  price_drop  price.dropped"
    end), files.read(output))
    words:kill()
    -- What is tried begins nothing.
    local session = look.session(host)
    session:run ":unmask"
    local tried = session:value [[try { type = "price.dropped", subject = "K1", payload = { sku = "K1", price = 8 } }]]
    assert.same({ fan_out = "price_drop", over = "interest:sku_watchers", key = "K1", users = 3 }, tried.changes[1])
    assert.same({ "fan_out", "interest:sku_watchers, K1" }, { tried.rules[1].decision, tried.rules[1].reason })
    session:close()
    assert.equal(1, #host:ask "fanouts")
  end)

  it("says the same in a simulation", function()
    start {}
    local expected = fan_outs.simulated(host)
    await_fan_out(host, is "done")
    local found = {}
    for _, message in ipairs(host:await_messages(40)) do found[message.message_id] = message.user_id end
    assert.same(expected, found)
  end)
end)

describe("a rule with for_each", function()
  local function check(text)
    local host = Host.new { rules = { price_drop = text } }
    finally(function() host:remove() end)
    local result = host:command "check"
    return result.status, result.out .. result.err
  end

  it("is refused with what to write instead", function()
    for _, case in ipairs {
      { price_drop 'pace = "fast",', '`pace` of kairos.rule is no rate' },
      { price_drop 'expires_in = "soon",', "`expires_in` of kairos.rule" },
      { (price_drop():gsub("for_each = [^\n]*\n", "")), nil },
      { (price_drop 'pace = "5/s",':gsub("for_each = [^\n]*\n", "")), "there is no `for_each`" },
      { (price_drop():gsub("for_each = [^\n]*\n", 'for_each = "everybody",\n')), "`for_each` of kairos.rule must be a function" },
      { (price_drop():gsub('over = "30d" }', 'over = "30d", til = "1d" }', 1)), "has no field `til`" },
      { price_drop 'needs = { a = kairos.needs { from = "x", path = "/", fallback = 1 } },', "needs" },
    } do
      local status, said = check(case[1])
      assert.equal(case[2] and 1 or 0, status, said)
      if case[2] then assert.truthy(said:find(case[2], 1, true), said) end
    end
  end)

  it("that names nobody, or no users, says so", function()
    local host = Host.start { rules = { price_drop = (price_drop():gsub("for_each = [^\n]*\n",
      'for_each = function(event) if event.payload.price > 5 then return "all" end end,\n')) } }
    finally(function() host:remove() end)
    host:accept(drop { price = 1 })
    host:accept(drop { id = "d2", price = 9 })
    local letters = host:dead(1)
    assert.equal(1, #letters)
    assert.truthy(letters[1].error:find("`for_each` returned a string", 1, true), letters[1].error)
    assert.same({}, host:ask "fanouts")
  end)
end)
