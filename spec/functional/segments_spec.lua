-- kairos.segment: who is in, to the millisecond, through restarts and power cuts; and events that follow from events.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local socket = require "socket"

local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")

local lookers = [[
local kairos = require "kairos"
local segment = kairos.segment
local views  = kairos.window { of = "product.viewed", by = "payload.sku", over = "2s" }
local orders = kairos.window { of = "order.completed", over = "1h" }
return {
  segment {
    name = "lookers",
    member = function(user) return user:count(views, "K1") >= 2 and user:count(orders) == 0 end,
  },
  segment { name = "gold", member = function(user) return user.tier == "gold" end },
  segment { name = "gold_lookers", reads = { "gold", "lookers" },
    member = function(user) return user:in_segment "gold" and user:in_segment "lookers" end },
}
]]
local teller = [[
local kairos = require "kairos"
return kairos.rule {
  on = { "segment.entered", "segment.left" },
  act = function(event, user)
    user:send { channel = "push", template = "said", data = {
      text = event.type .. " " .. event.payload.segment .. " " .. (event.timestamp - event.payload.since) .. " "
        .. (kairos.now() - event.timestamp) .. " " .. tostring(user:in_segment(event.payload.segment)),
    } }
  end,
}
]]
local failing = [[
local kairos = require "kairos"
local tries = kairos.window { of = "try", over = "1h" }
return kairos.segment { name = "failing", member = function(user)
  if user:count(tries) > 0 and not user.mended then error "not yet" end
  return user:count(tries) > 0
end }
]]
local emitting = [[
local kairos = require "kairos"
local spent = kairos.window { of = "spent", sum = "payload.amount", over = "1h" }
return {
  kairos.rule { name = "pays", on = "paid",
    act = function(event, user) user:emit { type = "spent", payload = { amount = event.payload.total / 2 } } end },
  kairos.rule { name = "big", on = "spent", when = function(event, user) return user:sum(spent) > 100 end,
    act = function(event, user)
      user:send { channel = "push", template = "said", data = { text = "spent " .. user:sum(spent) } }
    end },
}
]]

local function view(user, more)
  return { type = "product.viewed", user = user, payload = { sku = "K1" }, at = more and more.at }
end

describe("a segment", function()
  local host
  setup(function()
    host = Host.start { rules = { lookers = lookers, teller = teller, failing = failing, emitting = emitting } }
  end)
  teardown(function() host:remove() end)

  local function decisions(user)
    local found = {}
    for _, decision in ipairs(host:ask("why", user)) do
      if decision.segment then found[#found + 1] = { decision.decision, decision.segment, decision.at } end
    end
    return found
  end

  it("is entered with the event that makes it so, and left at the millisecond that its window says", function()
    local at = Host.now()
    host:accept(view("ada", { at = at - 500 }), view("ada", { at = at }))
    assert.same({ "segment.entered:lookers lookers 0 0 true", "segment.left:lookers lookers 1500 0 false" },
      host:said("ada", 2))
    assert.same({ { "entered", "lookers", at }, { "left", "lookers", at + 1500 } }, decisions "ada")
    assert.is_true(at + 1500 <= Host.now(), "told before its time")
  end)

  it("is left by what the window says even when the host was down, with that time", function()
    local at = Host.now()
    host:accept(view("dow", { at = at - 1 }), view("dow", { at = at }))
    host:kill()
    socket.sleep(2.5)
    host:run()
    assert.same({ "segment.entered:lookers lookers 0 0 true", "segment.left:lookers lookers 1999 0 false" },
      host:said("dow", 2))
    assert.same({ { "entered", "lookers", at }, { "left", "lookers", at + 1999 } }, decisions "dow")
  end)

  it("survives a power cut while somebody is in", function()
    local at = Host.now()
    host:accept({ type = "identify", user = "cut", payload = { tier = "gold" } })
    host:accept(view("cut", { at = at - 1 }), view("cut", { at = at }))
    host:kill()
    host:run()
    host:accept { type = "order.completed", user = "cut" }
    process.eventually(10 * Host.patience, function() return #host:said("cut", 5) == 5 end)
    local names = {}
    for index, decision in ipairs(decisions "cut") do names[index] = decision[1] .. " " .. decision[2] end
    assert.same({ "entered gold", "entered lookers", "entered gold_lookers", "left lookers", "left gold_lookers" }, names)
    assert.is_nil(host:ask("user", "cut").segments.lookers)
    assert.is_number(host:ask("user", "cut").segments.gold)
  end)

  it("is entered once and left once, each at its own millisecond, through power cuts", function()
    local users = {}
    for cut = 1, 6 do
      local events = {}
      for index = 1, 20 do
        local user, at = ("torn-%d-%d"):format(cut, index), Host.now() - index
        users[user] = at
        events[#events + 1] = view(user, { at = at - 7 * index })
        events[#events + 1] = view(user, { at = at })
      end
      host:accept(unpack(events))
      socket.sleep(0.13 * cut)
      host:kill()
      host:run()
    end
    process.eventually(10 * Host.patience, function() return #decisions "torn-6-1" == 2 end)
    for user, at in pairs(users) do
      local index = tonumber(user:match "%d+$")
      assert.same({ { "entered", "lookers", at }, { "left", "lookers", at - 7 * index + 2000 } }, decisions(user), user)
      assert.equal(2, #host:said(user, 2), user)
    end
    assert.equal("none", process.eventually(10 * Host.patience, function()
      return #host:ask("segments", "lookers").members == 0 and "none"
    end), "who stands in the index has been in the segment")
  end)

  it("is shown by why, with the facts, by a replay, by a trial and by the user's record", function()
    host:accept({ type = "identify", user = "why", payload = { tier = "gold" } })
    local text = host:command("why", "why").out
    assert.truthy(text:find("entered the segment gold", 1, true), text)
    local found
    for _, run in ipairs(host:ask("why", "why", "--replay")) do
      if run.segment == "gold" then found = run end
    end
    assert.same({ "entered", { tier = "gold" } }, { found.decision, found.facts })
    local judged = {}
    for index, run in ipairs(host:ask("why", "why", "gold_lookers", "--replay")) do
      judged[index] = run.segment .. " " .. run.decision
    end
    assert.same({ "gold_lookers out" }, judged)
    local none = host:command("why", "why", "golt").out
    assert.truthy(none:find("There are decisions about: gold", 1, true), none)
    local trial = host:command("repl", "-e", 'try { type = "identify", user = "why", payload = { tier = "none" } }').out
    assert.truthy(trial:find("left", 1, true), trial)
    assert.truthy(host:command("user", "why").out:find("gold +since 20"))
  end)

  it("whose predicate fails keeps who is in, and the dead letter can be retried", function()
    host:accept { type = "try", user = "bad" }
    local letter = host:dead(1)[1]
    assert.same({ "segment:failing", "failing/rule.lua" }, { letter.campaign, letter.rule })
    assert.truthy(letter.error:find("not yet", 1, true))
    assert.equal(1, host:command("dead", "retry", letter.id).status)
    host:accept { type = "identify", user = "bad", payload = { mended = true } }
    assert.equal(0, host:command("dead", "retry", letter.id).status)
    assert.is_number(host:ask("user", "bad").segments.failing)
  end)

  it("counts who comes and goes", function()
    assert.is_true(host:metric("kairos_segment_changes_total", 'segment="gold",change="entered"') >= 1)
    assert.is_true(host:metric("kairos_segment_judged_total", 'segment="gold"') >= 1)
  end)

  it("is listed with how many are in it, and who, page by page", function()
    local events, at = {}, Host.now()
    for index = 1, 150 do
      events[index] = { type = "identify", user = ("page-%03d"):format(index), payload = { tier = "gold" }, at = at }
    end
    host:accept(unpack(events))
    local row
    process.eventually(10 * Host.patience, function()
      for _, segment in ipairs(host:ask "segments") do row = segment.segment == "gold" and segment or row end
      return row.members >= 150
    end)
    local before = row.members - 150
    assert.same({ "lookers", "lookers/rule.lua" }, { row.campaign, row.rule })
    local found, pages, after, last = {}, 0
    repeat
      local page = host:ask("segments", "gold", after)
      last = page.members[#page.members].user
      for _, member in ipairs(page.members) do found[member.user] = member.since end
      pages, after = pages + 1, page.next ~= cjson.null and page.next or nil
    until not after
    assert.same({ 2, at, at }, { pages, found["page-001"], found["page-150"] })
    local count = 0
    for _ in pairs(found) do count = count + 1 end
    assert.equal(150 + before, count)
    -- A session that did not ask for ids gets none, nor goes on behind one that it cannot know.
    local masked = host:command("repl", "--json", "-e", [[segment("gold").next]])
    assert.truthy(masked.out:find '^"~%x+"', masked.out)
    local lost = host:command("repl", "-e", [[segment("gold", { user = segment("gold").next })]])
    assert.truthy(lost.err:find("unmask = true", 1, true), lost.err)
    local second = host:command("repl", "--json", "-e", [[
      local page = segment("gold", { unmask = true })
      return #segment("gold", { unmask = true, user = page.next }).members]])
    assert.equal(50 + before, tonumber(second.out), second.out .. second.err)
    host:accept { type = "identify", user = "page-001", payload = { tier = "none" } }
    assert.equal("yes", process.eventually(10 * Host.patience, function()
      return not host:command("segments", "gold", "--all").out:find("page-001", 1, true) and "yes"
    end))
    local shown = host:command("segments").out
    assert.truthy(shown:find("count order.completed 1h, count product.viewed 2s by sku", 1, true), shown)
    assert.truthy(shown:find("gold, lookers\n", 1, true), shown)
    assert.truthy(host:command("segments", "gold", last).err:find("Nobody is in gold behind that user.", 1, true))
    local missing = host:command("segments", "golt")
    assert.same({ 3, true }, { missing.status, missing.err:find("did you mean `gold`?", 1, true) ~= nil })
  end)

  it("is told by the host alone", function()
    local answer = host:post(Host.event { type = "segment.entered:gold", user = "liar" })
    assert.equal(400, answer.status)
    assert.equal("/event_type", answer.json.rejected[1].pointer)
  end)

  it("is not alone: rules may emit events of their own, which are counted and heard at once", function()
    host:accept({ type = "paid", user = "emi", payload = { total = 90 } },
      { type = "paid", user = "emi", payload = { total = 130 } })
    assert.same({ "spent 110" }, host:said "emi")
    local emitted
    for _, decision in ipairs(host:ask("why", "emi")) do emitted = decision.decision == "emitted" and decision or emitted end
    assert.same({ "pays", "spent" }, { emitted.campaign, emitted.event_type })
    local events = host:command("repl", "-e", 'user("emi"):events { type = "spent" }').out
    assert.truthy(events:find("derived:1:1:", 1, true), events)
  end)
end)

describe("a segment of long ago", function()
  it("is told from what is sealed as from the log's tail", function()
    local host = Host.start { rules = { lookers = lookers, teller = teller, emitting = emitting },
      config = { log = { segment_age = "1s" }, state = { checkpoint_every = "1s" } } }
    local at = Host.now()
    host:accept(view("ada", { at = at - 1 }), view("ada", { at = at }), { type = "paid", user = "ada", payload = { total = 4 } })
    local function told()
      local found = {}
      for _, decision in ipairs(host:ask("why", "ada")) do found[#found + 1] = decision.decision end
      return table.concat(found, " ")
    end
    host:said("ada", 2)
    local before, again = told(), host:ask("why", "ada", "--replay")
    local function sealed() return host:ask("status").sealed_segment end
    local first = sealed()
    assert.equal("yes", process.eventually(20 * Host.patience, function() -- segments end only behind something new
      host:accept { type = "other", user = "bob" }
      return sealed() > first + 3 and "yes"
    end))
    assert.equal("entered send emitted left send", before)
    assert.equal(before, told())
    assert.same(again, host:ask("why", "ada", "--replay"))
    host:stop()
    assert.equal(before, told())
    host:remove()
  end)
end)

describe("a segment in a spec", function()
  local story = [[
local sim = require "kairos.spec"
describe("viewers", function()
  local host
  before_each(function() host = sim.host { rules = "rules", at = "2026-06-01 12:00 UTC" } end)
  it("is left the second its window of ten minutes says, not before", function()
    host:event { type = "product.viewed", user = "ada", payload = { sku = "K1" } }
    host:advance "1m"
    assert.same({}, host:segments "ada")
    host:event { type = "product.viewed", user = "ada", payload = { sku = "K1" } }
    assert.is_number(host:segments("ada").viewers)
    assert.sent(host, { to = "ada", text_has = "entered", at = "2026-06-01 12:01 UTC" })
    host:advance "8m"
    host:advance "59s"
    assert.is_number(host:segments("ada").viewers)
    host:advance "1s"
    assert.same({}, host:segments "ada")
    assert.sent(host, { to = "ada", text_has = "left after 540000", at = "2026-06-01 12:10 UTC" })
    assert.why(host, { to = "ada", segment = "viewers", decision = "left", at = "2026-06-01 12:10 UTC",
      facts = { ["count product.viewed 10m [K1]"] = 1 } })
  end)
  it("counts a late event where it belongs, and takes nobody back in time", function()
    host:event { type = "product.viewed", user = "eve", payload = { sku = "K1" } }
    host:advance "11m"
    host:event { type = "product.viewed", user = "eve", payload = { sku = "K1" }, at = "2026-06-01 12:05 UTC" }
    assert.not_sent(host)
    host:event { type = "product.viewed", user = "eve", payload = { sku = "K1" }, at = "2026-06-01 12:06 UTC" }
    assert.sent(host, { to = "eve", text_has = "entered", at = "2026-06-01 12:11 UTC" })
    host:advance "4m"
    assert.sent(host, { to = "eve", text_has = "left", at = "2026-06-01 12:15 UTC" })
  end)
  it("is whom an event about a thing reaches", function()
    for _, user in ipairs { "ann", "bea", "cat" } do
      host:event { type = "product.viewed", user = user, payload = { sku = "K1" } }
      if user ~= "cat" then host:event { type = "product.viewed", user = user, payload = { sku = "K1" } } end
    end
    host:event { type = "price.dropped", subject = "K1" }
    host:advance "1m"
    assert.sent(host, { to = "ann", text_has = "cheaper" })
    assert.sent(host, { to = "bea", text_has = "cheaper" })
    assert.not_sent(host, { to = "cat" })
  end)
  it("begins journeys, is asked by them, and ends them", function()
    host:event { type = "product.viewed", user = "joy", payload = { sku = "K1" } }
    host:event { type = "product.viewed", user = "joy", payload = { sku = "K1" } }
    host:advance "2h"
    assert.sent(host, { to = "joy", text_has = "still there: true", at = "2026-06-01 12:05 UTC" })
    assert.not_sent(host, { to = "joy", text_has = "never" })
    assert.sent(host, { to = "joy", text_has = "left", at = "2026-06-01 12:10 UTC" })
  end)
end)
]]
  local viewers = [[
local kairos = require "kairos"
local segment = kairos.segment
local views = kairos.window { of = "product.viewed", by = "payload.sku", over = "10m" }
return {
  segment { name = "viewers", member = function(user) return user:count(views, "K1") >= 2 end },
  kairos.journey { name = "stays", start = { on = segment.entered "viewers" }, exit = { on = "segment.left" },
    run = function(journey, user)
      journey:wait "5m"
      journey:send { channel = "push", template = "said", data = { text = "still there: " .. tostring(user:in_segment "viewers") } }
      journey:wait "1h"
      journey:send { channel = "push", template = "said", data = { text = "never" } }
    end },
  kairos.rule { name = "drop", on = "price.dropped", for_each = segment.members "viewers",
    act = function(event, user)
      user:send { channel = "push", template = "said", data = { text = event.subject .. " is cheaper" } }
    end },
  kairos.rule { name = "tells", on = { segment.entered "viewers", segment.left "viewers" },
    act = function(event, user)
      local text = event.payload["until"] and "left after " .. (event.payload["until"] - event.payload.since) or "entered"
      user:send { channel = "push", template = "said", data = { text = text } }
    end },
}
]]

  it("keeps its time", function()
    local directory = files.temporary()
    files.write(directory .. "/rules/viewers/rule.lua", viewers)
    files.write(directory .. "/rules/viewers/said.txt", "{{text}}")
    files.write(directory .. "/spec/rules/viewers_spec.lua", story)
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary .. " spec" },
      seconds = 60 * Host.patience }
    files.remove(directory)
    assert.equal(0, result.status, result.out .. result.err)
    assert.truthy(result.out:find("4 passed, 0 failed", 1, true), result.out)
  end)
end)
