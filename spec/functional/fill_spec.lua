-- New windows are filled from the event log before the rules that read them serve: what they answer is what they would
-- answer had they counted from the beginning.
local files = require "spec.functional.support.files"
local fills = require "spec.functional.support.fills"
local Host = require "spec.functional.support.host"
local process = require "spec.functional.support.process"
local socket = require "socket"

local DAY, MINUTE = 86400000, 60000
local configured, write, post, rules_of = fills.configured, fills.write, fills.post, fills.rules_of

--- A campaign that answers `asked` with its name and what its windows know. `more` stands at its top.
local function asking(name, over, more)
  return (([[
local kairos = require "kairos"
%MORE
local bought = kairos.window { of = "bought", over = "%OVER" }
local by_sku = kairos.window { of = "bought", over = "%OVER", by = "payload.sku" }
local spent  = kairos.window { of = "bought", over = "%OVER", sum = "payload.amount" }
local latest = kairos.window { of = "bought", over = "%OVER", last = "payload.sku" }
local oldest = kairos.window { of = "bought", over = "%OVER", first = "payload.sku" }
local kinds  = kairos.window { of = "bought", over = "%OVER", distinct = "payload.sku" }
return kairos.rule {
  name = "%NAME",
  on = "asked",
  act = function(_, user)
    user:send { channel = "push", template = "said", data = { text = table.concat({ "%NAME",
      user:count(bought), user:count(by_sku, "A"), user:sum(spent), tostring(user:last(latest)),
      tostring(user:first(oldest)), user:distinct(kinds),
    }, " ") } }
  end,
}
]]):gsub("%%NAME", name):gsub("%%OVER", over):gsub("%%MORE", more or ""))
end

--- One that says a word.
local function saying(name, word)
  return ([[
local kairos = require "kairos"
return kairos.rule { name = "%s", on = "asked", act = function(_, user)
  user:send { channel = "push", template = "said", data = { text = "%s" } }
end }
]]):format(name, word)
end

-- Windows of these two lengths are two windows, and hold the same: no event is made near the second between them.
local LONG, LONGER = "2d", "172801s"

local skus = { "A", "B", "C" }
--- Events of so many users over three days, in no order. Few enough each for windows to keep them one by one.
local function history(users, count)
  local list, now = {}, Host.now()
  while #list < count do
    local age = math.random(3 * DAY)
    local user = math.random(users)
    if math.abs(age - 2 * DAY) > 5 * MINUTE then
      list[#list + 1] = { type = "bought", user = "u" .. user, at = now - age,
        payload = { sku = skus[math.random(3)], amount = math.random(1000) / 4 } }
    end
  end
  return list
end

--- What each user is told when he asks: `count` texts.
local function ask_all(host, users, count)
  for user = 1, users do host:accept { type = "asked", user = "u" .. user } end
  local found = {}
  for user = 1, users do found[user] = host:said("u" .. user, count) end
  return found
end

--- Campaigns `early` and `late` read equal windows, one of them filled, and say the same.
local function assert_agree(found)
  local some = 0
  for user, said in ipairs(found) do
    local by = {}
    for _, line in ipairs(said) do
      local name, rest = line:match "^(%S+) (.*)$"
      if name then by[name] = rest end
    end
    assert.truthy(by.early and by.late, "u" .. user .. ": " .. table.concat(said, " | "))
    assert.equal(by.early, by.late, "u" .. user)
    if not by.early:find "^0 " then some = some + 1 end
  end
  assert.is_true(some > 0)
end

--- Wait until nothing is being filled. @return what status says of the rules
local function await_filled(host)
  local rules
  assert.is_true(process.eventually(30 * Host.patience, function()
    rules = rules_of(host)
    return rules.fill == nil
  end))
  return rules
end

describe("a new window", function()
  local host
  before_each(function() math.randomseed(4711) end)
  after_each(function() host:remove() end)

  local function start(options)
    options.rules = options.rules or { early = asking("early", LONG) }
    options.config = configured(options.config)
    host = Host.start(options)
    return host
  end

  it("is filled from the event log before the campaign that reads it serves", function()
    start {}
    post(host, history(20, 600))
    write(host, "late", asking("late", LONGER))
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(20, answer.filled.users)
    assert.equal(0, answer.filled.short_from)
    assert.equal(3, answer.generation)
    assert.equal(3, rules_of(host).generation)
    assert.is_nil(rules_of(host).fill)
    assert.equal(20, host:metric "kairos_filled_users_total")
    assert_agree(ask_all(host, 20, 2))
  end)

  it("is filled from sealed segments and the tail alike, over days of log", function()
    start { config = { log = { segment_size = "64KB", segment_age = "1s" } } }
    post(host, history(40, 1000))
    assert.is_true(process.eventually(30 * Host.patience, function() -- a segment ends with what comes after its time
      post(host, history(40, 50))
      return host:ask("status").sealed_segment > 2
    end))
    post(host, history(40, 200))
    write(host, "late", asking("late", LONGER))
    assert.equal(40, host:ask("reload").filled.users)
    assert_agree(ask_all(host, 40, 2))
  end)

  it("leaves the campaign as it was until then, and lets the others go on", function()
    start { rules = { early = asking("early", LONG), changed = saying("changed", "former"), plain = saying("plain", "one") },
      hold = "fill.begin" }
    post(host, history(5, 100))
    write(host, "changed", asking("late", LONGER))
    write(host, "added", asking("added", "3d"))
    write(host, "plain", saying("plain", "two"))
    local answer = host:ask("reload", "--no-wait")
    assert.equal("filling", answer.result)
    assert.equal(2, answer.generation)
    assert.is_true(answer.fill.holds_back)
    local rules = rules_of(host)
    assert.equal("wait until what they declare is filled", rules.files)
    assert.truthy(host:command("generations").out:find("serving, filling", 1, true))
    host:accept { type = "asked", user = "meanwhile" }
    local said = host:said("meanwhile", 3)
    assert.equal(3, #said)
    assert.same({ "former", "two" }, { said[2], said[3] })
    assert.equal("unchanged", host:ask("reload", "--dry-run").result)
    host:release()
    assert.equal(3, await_filled(host).generation)
    host:accept { type = "asked", user = "u1" }
    said = host:said("u1", 4)
    assert.equal(4, #said)
    assert.truthy(said[1]:find "^added ")
    assert.equal((said[2]:gsub("early ", "")), (said[3]:gsub("late ", "")))
    assert.equal("two", said[4])
  end)

  it("counts what arrives meanwhile once", function()
    start { env = { KAIROS_FAILPOINTS = "fill.begin=sleep:800,fill.decide=sleep:40*40" } }
    post(host, history(60, 600))
    write(host, "late", asking("late", LONGER))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    local posted = 0
    while rules_of(host).fill and posted < 2400 do
      post(host, history(60, 60))
      posted = posted + 60
    end
    await_filled(host)
    assert_agree(ask_all(host, 60, 2))
  end)

  it("that no event of the log is for serves at once", function()
    start { rules = { plain = saying("plain", "one") } }
    host:accept { type = "asked", user = "ada" }
    write(host, "late", asking("late", LONG))
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(2, answer.generation)
    host:accept({ type = "bought", user = "bob", payload = { sku = "A", amount = 2 } }, { type = "asked", user = "bob" })
    assert.same({ "late 1 1 2 A A 1", "one" }, host:said("bob", 2))
    assert.equal(2, await_filled(host).generation)
    host:accept { type = "asked", user = "bob" }
    assert.equal(4, #host:said("bob", 4))
    assert.same({ "late 1 1 2 A A 1", "late 1 1 2 A A 1", "one", "one" }, host:said("bob", 4))
  end)

  it("says from when on it knows, where the log is not kept as long", function()
    start { config = { log = { keep = "20d" } } }
    post(host, history(5, 50))
    write(host, "late", asking("late", "30d"))
    local out = host:command("reload").out
    assert.truthy(out:find "window added +count bought 30d; filled from %d%d%d%d%-%d%d%-%d%d on: the log keeps 20d",
      out)
  end)

  it("of a journey is filled before new journeys read it; those under way keep to their source", function()
    local function journey(more, text)
      return ([[
local kairos = require "kairos"
%s
return kairos.journey {
  name = "travels",
  start = { on = "began" },
  run = function(journey, user)
    journey:wait_for { on = "goes_on", within = "1d" }
    journey:send { channel = "push", to = "x", template = "said", data = { text = %s } }
  end,
}
]]):format(more, text)
    end
    start { rules = { travels = journey("", '"former"') } }
    post(host, history(3, 30))
    host:accept({ type = "began", user = "u1" })
    write(host, "travels", journey('local bought = kairos.window { of = "bought", over = "20d" }',
      '"bought " .. user:count(bought)'))
    assert.equal("serving", host:ask("reload").result)
    local of_two = 0
    for _, window in ipairs(host:ask("user", "u2").windows) do of_two = of_two + window.entries end
    assert.is_true(of_two > 3)
    host:accept({ type = "began", user = "u2" }, { type = "goes_on", user = "u1" }, { type = "goes_on", user = "u2" })
    assert.same({ "former" }, host:said "u1")
    assert.same({ "bought " .. of_two }, host:said "u2")
  end)

  it("that went and comes back is filled anew: nothing is missing, nothing twice", function()
    start { rules = { early = asking("early", LONG), late = saying("late", "nothing") } }
    post(host, history(10, 120))
    for round = 1, 2 do
      write(host, "late", asking("late", LONGER))
      assert.is_table(host:ask("reload").filled)
      post(host, history(10, 60))
      write(host, "late", saying("late", "nothing " .. round))
      host:ask "reload"
      post(host, history(10, 60))
    end
    host:ask "rollback" -- its rules serve at once, the windows follow
    await_filled(host)
    assert_agree(ask_all(host, 10, 2))
  end)

  it("is filled at the start when files have changed, the former rules serving", function()
    start { rules = { early = asking("early", LONG), changed = saying("changed", "former") } }
    post(host, history(10, 300))
    host:stop()
    write(host, "changed", asking("late", LONGER))
    host:hold "fill.begin"
    host:run()
    host:accept { type = "asked", user = "meanwhile" }
    assert.equal("former", host:said("meanwhile", 2)[2])
    host:release()
    await_filled(host)
    assert_agree(ask_all(host, 10, 2))
  end)
end)

describe("filling", function()
  local host
  before_each(function() math.randomseed(1147) end)
  after_each(function() host:remove() end)

  it("goes on after kill -9, whenever it comes", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured() }
    post(host, history(40, 500))
    write(host, "late", asking("late", LONGER))
    local moments = {
      "generation.stored=kill", "generation.durable=kill", "generation.swapped=kill", "fill.begin=kill",
      "fill.decide=kill", "fill.decide=kill@5", "log.write=kill@3", "log.durable=kill@4", "fill.decide=kill@30",
      "fill.note=kill", "fill.done=kill", "generation.durable=kill@1", "generation.swapped=kill",
    }
    host:stop()
    for _, moment in ipairs(moments) do
      host:launch { KAIROS_FAILPOINTS = moment }
      process.eventually(3 * Host.patience, function()
        if not host.process:alive() then return true end
        local asked, rules = pcall(rules_of, host)
        return asked and rules.fill == nil
      end)
      host:kill()
      host:run { KAIROS_FAILPOINTS = "fill.begin=sleep:300" }
      post(host, history(40, 20))
      host:kill()
    end
    host:run()
    await_filled(host)
    assert_agree(ask_all(host, 40, 2))
  end)

  it("ends at random moments by kill -9, and is whole in the end", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured() }
    post(host, history(30, 300))
    for round = 1, 4 do
      write(host, "late", asking("late", LONGER, "-- " .. round))
      pcall(function() host:ask("reload", "--no-wait") end)
      socket.sleep(math.random() * 0.4)
      host:kill()
      host:run()
      post(host, history(30, 40))
      write(host, "late", saying("late", "nothing"))
      if round % 2 == 0 then host:ask "reload" end
    end
    write(host, "late", asking("late", LONGER))
    host:ask "reload"
    await_filled(host)
    assert_agree(ask_all(host, 30, 2))
  end)

  it("takes up what is saved meanwhile, and never loses the newest", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured(), hold = "fill.begin" }
    post(host, history(10, 120))
    write(host, "late", asking("late", "5d"))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    write(host, "late", asking("late", LONGER))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    write(host, "plain", saying("plain", "zzz"))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    host:accept { type = "asked", user = "meanwhile" }
    assert.equal("zzz", host:said("meanwhile", 2)[2])
    host:release()
    assert.equal("serve", await_filled(host).files)
    assert_agree(ask_all(host, 10, 3))
  end)

  --- Wait until nothing that is being filled is waited for.
  local function await_serving()
    assert.is_true(process.eventually(30 * Host.patience, function()
      local fill = rules_of(host).fill
      return not fill or not fill.holds_back
    end))
  end

  it("that goes from one campaign to another is counted all the while", function()
    host = Host.start { config = configured(),
      rules = { early = asking("early", LONG), gives = asking("gives", LONGER), takes = saying("takes", "one") },
      hold = "fill.read=sleep:3000@3*0,fill.begin" }
    post(host, history(5, 100))
    write(host, "gives", saying("gives", "two"))
    write(host, "takes", asking("late", LONGER, 'kairos.window { of = "bought", over = "9d" }'))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    post(host, history(5, 50))
    host:release()
    await_serving()
    post(host, history(5, 50))
    assert_agree(ask_all(host, 5, 3))
  end)

  for what, command in pairs { ["a resume"] = { "resume", "--campaign", "plain" }, ["a save"] = { "reload", "--no-wait" } } do
    it("that is filled waits for its rules though " .. what .. " comes in between", function()
      local held = os.tmpname()
      host = Host.start { config = configured(),
        rules = { early = asking("early", LONG), changed = saying("changed", "former"), plain = saying("plain", "one") },
        hold = "generation.built=hold:" .. held .. "@3,fill.read=sleep:3000@3*0,fill.begin" }
      post(host, history(5, 100))
      write(host, "changed", asking("late", LONGER))
      assert.equal("filling", host:ask("reload", "--no-wait").result)
      local function begin(arguments)
        return process.start { command = { Host.binary, arguments[1], "--config", host.config_file, unpack(arguments, 2) },
          output = host.directory .. "/output" }
      end
      local first = begin { "pause", "--campaign", "plain" } -- is being prepared, and what comes next waits
      assert.is_true(process.eventually(10 * Host.patience, function()
        return files.read(host.log):find("failpoint=generation.built", 1, true) ~= nil
      end))
      if what == "a save" then write(host, "added", saying("added", "more"):gsub("return",
        'kairos.window { of = "bought", over = "8d" }\nreturn', 1)) end
      local second = begin(command)
      socket.sleep(0.2)
      host:release()
      assert.is_true(process.eventually(30 * Host.patience, function()
        local fill = rules_of(host).fill
        return fill and fill.state == "going live"
      end))
      os.remove(held)
      assert.equal(0, first:wait(30 * Host.patience))
      assert.equal(0, second:wait(30 * Host.patience))
      post(host, history(5, 50))
      await_serving()
      post(host, history(5, 50))
      assert_agree(ask_all(host, 5, 3))
    end)
  end

  it("stands a pause, and a rollback ends it", function()
    host = Host.start { rules = { early = asking("early", LONG), changed = saying("changed", "former") },
      config = configured(), hold = "fill.begin" }
    post(host, history(10, 120))
    write(host, "changed", asking("late", LONGER))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    assert.equal(0, host:command("pause", "--campaign", "early").status)
    assert.is_table(rules_of(host).fill)
    assert.equal(0, host:command("resume", "--campaign", "early").status)
    host:release()
    await_filled(host)
    assert_agree(ask_all(host, 10, 2))

    host:hold "fill.begin"
    write(host, "changed", asking("late", "3d"))
    local output = host.directory .. "/reload.out"
    local waiting = process.start { command = { Host.binary, "reload", "--config", host.config_file }, output = output }
    assert.is_true(process.eventually(30 * Host.patience, function() return rules_of(host).fill ~= nil end))
    host:ask "rollback"
    host:release()
    local rules = await_filled(host)
    assert.equal("set aside by a rollback", rules.files)
    assert.equal(1, waiting:wait(10 * Host.patience))
    assert.equal(("kairos: a rollback ended it: generation %d serves, and not these files\n"):format(rules.generation),
      files.read(output))
    host:accept { type = "asked", user = "after" }
    assert.equal(2, #host:said("after", 2))
  end)

  it("waits while the disk is full, and goes on when there is room", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured() }
    post(host, history(20, 200))
    host:stop()
    write(host, "late", asking("late", LONGER))
    host:run { KAIROS_FAILPOINTS = "log.write=enospc@3*2" }
    await_filled(host)
    assert.is_true(host:metric "kairos_recoveries" > 0)
    assert_agree(ask_all(host, 20, 2))
  end)

  it("ends where the log cannot be read: that is said, the former rules go on, and a reload tries again", function()
    host = Host.start { rules = { early = asking("early", LONG), changed = saying("changed", "former") },
      config = configured(), env = { KAIROS_FAILPOINTS = "fill.read=error" } }
    post(host, history(10, 100))
    write(host, "changed", asking("late", LONGER))
    local refused = host:command "reload"
    assert.equal(1, refused.status)
    assert.truthy(refused.err:find("cannot be filled from the event log: reading the event log", 1, true), refused.err)
    local rules = rules_of(host)
    assert.equal("failed", rules.fill.state)
    assert.equal("wait until what they declare is filled", rules.files)
    assert.equal(0, host:metric "kairos_filling")
    host:accept { type = "asked", user = "meanwhile" }
    assert.equal("former", host:said("meanwhile", 2)[2])
    assert.equal(10, host:ask("reload").filled.users)
    assert_agree(ask_all(host, 10, 2))
  end)

  it("is told by `kairos why --replay` as it was", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured() }
    host:accept(
      { type = "bought", user = "ada", payload = { sku = "A", amount = 2 } },
      { type = "bought", user = "ada", payload = { sku = "B", amount = 3 } })
    write(host, "late", asking("late", LONGER))
    host:ask "reload"
    host:accept { type = "bought", user = "ada", payload = { sku = "A", amount = 5 } }
    host:accept { type = "asked", user = "ada" }
    assert.same({ "early 3 2 10 A A 2", "late 3 2 10 A A 2" }, host:said("ada", 2))
    local live = host:ask("why", "ada", "late")[1].facts
    assert.equal(3, live["count bought " .. LONGER])
    local replayed = host:ask("why", "ada", "late", "--replay")
    assert.equal(1, #replayed)
    assert.same(live, replayed[1].facts)
  end)

  it("takes the room of those that it came in place of, in `kairos why --replay` too", function()
    host = Host.start { rules = { early = asking("early", LONG) }, config = configured { state = { record_max = "4KB" } } }
    for sku = 1, 40 do host:accept { type = "bought", user = "ada", payload = { sku = "S" .. sku, amount = 1 } } end
    local wanted = {}
    for round = 1, 8 do
      write(host, "early", asking("early", 172800 + round .. "s"))
      host:ask "reload"
      host:command "resume" -- attempts at what was decided before the reload
      assert.same(wanted, host:said("ada", #wanted))
      host:command "pause"
      host:accept({ type = "bought", user = "ada", payload = { sku = "A", amount = 1 } }, { type = "asked", user = "ada" })
      wanted[round] = ("early %d %d %d A S1 41"):format(40 + round, round, 40 + round)
    end
    host:command "resume"
    assert.same(wanted, host:said("ada", #wanted))
    local live, replayed = host:ask("why", "ada", "early"), host:ask("why", "ada", "early", "--replay")
    assert.equal(8, #replayed)
    for round, row in ipairs(replayed) do assert.same(live[round].facts, row.facts) end
  end)
end)

describe("a new segment", function()
  local host
  before_each(function() math.randomseed(2211) end)
  after_each(function() host:remove() end)

  local regulars = [[
local kairos = require "kairos"
local segment = kairos.segment
local orders = kairos.window { of = "bought", over = "20d" }
return {
  segment { name = "regulars", member = function(user) return user:count(orders) >= 3 end },
  segment { name = "gold", member = function(user) return user.tier == "gold" end },
  segment { name = "gold_regulars", reads = { "gold", "regulars" },
    member = function(user) return user:in_segment "gold" and user:in_segment "regulars" end },
  kairos.rule { name = "tells", on = { "segment.entered", "segment.left" }, act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = event.type } }
  end },
}
]]

  local function bought(user, days)
    return { type = "bought", user = user, at = Host.now() - (days or 0) * DAY, payload = { sku = "A", amount = 1 } }
  end

  local function history_of_segments()
    host:accept(bought("three", 9), bought("three", 8), bought("three", 7), bought("two", 9), bought("two", 3),
      bought("golden", 2), bought("golden", 2), bought("golden", 1),
      { type = "identify", user = "golden", payload = { tier = "gold" } },
      { type = "identify", user = "rich", payload = { tier = "gold" } })
  end

  local function assert_members(regular)
    local function of(name)
      local found = {}
      for _, user in ipairs { "three", "two", "golden", "rich" } do
        if host:ask("user", user).segments[name] then found[#found + 1] = user end
      end
      return found
    end
    assert.same(regular or { "three", "golden" }, of "regulars")
    assert.same({ "golden", "rich" }, of "gold")
    assert.same({ "golden" }, of "gold_regulars")
  end

  --- What `kairos why` says of a user and a segment, in its order.
  local function judged(user, segment, ...)
    local found = {}
    for _, row in ipairs(host:ask("why", user, ...)) do
      if row.segment == segment then found[#found + 1] = row.decision end
    end
    return found
  end

  it("has its members before its rules serve, and nobody has entered it", function()
    host = Host.start { rules = { plain = saying("plain", "one") }, config = configured() }
    history_of_segments()
    write(host, "club", regulars)
    local tried = host:command("reload", "--dry-run").out
    assert.truthy(tried:find("segment added +regulars; each user will be judged for it, and nobody told\n"), tried)
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(3, answer.generation)
    table.sort(answer.declared.segments_added)
    assert.same({ "gold", "gold_regulars", "regulars" }, answer.declared.segments_added)
    assert_members()
    host:accept(bought "three", bought "two")
    assert.same({ "segment.entered:regulars" }, host:said "two")
    assert.same({}, host:said("three", 1, 0.5))
    host:accept { type = "identify", user = "two", payload = { tier = "gold" } }
    assert.same({ "segment.entered:gold", "segment.entered:gold_regulars", "segment.entered:regulars" }, host:said("two", 3))
    host:accept { type = "identify", user = "golden", payload = { tier = "none" } }
    assert.same({ "segment.left:gold", "segment.left:gold_regulars" }, host:said("golden", 2))
  end)

  it("is judged quietly while users are put into it, and by what happens meanwhile", function()
    host = Host.start { rules = { plain = saying("plain", "one") }, config = configured(),
      hold = "fill.begin" }
    history_of_segments()
    write(host, "club", regulars)
    write(host, "reads", [[
local kairos = require "kairos"
return kairos.rule { name = "reads", on = "asked", act = function(_, user)
  user:send { channel = "push", template = "said", data = { text = "in " .. tostring(user:in_segment "gold") } }
end }
]])
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    assert.same({ "regulars", "gold", "gold_regulars" }, rules_of(host).fill.segments)
    host:accept(bought "new", bought "new", bought "new", { type = "asked", user = "new" })
    assert.same({ "one" }, host:said "new") -- what names a segment that is not there yet waits too
    host:release()
    await_filled(host)
    assert_members()
    assert.is_number(host:ask("user", "new").segments.regulars)
    host:accept { type = "asked", user = "golden" }
    assert.same({ "in true", "one" }, host:said("golden", 2))
    assert.same({ "one" }, host:said "new")
  end)

  it("that goes from one campaign to another keeps its members", function()
    host = Host.start { rules = { plain = saying("plain", "one") }, config = configured(), hold = "fill.begin" }
    host:release()
    history_of_segments()
    write(host, "club", regulars)
    assert.equal("serving", host:ask("reload").result)
    assert_members()
    host:hold "fill.begin"
    write(host, "club", saying("club", "two"))
    write(host, "house", (regulars:gsub("local orders", 'local others = kairos.window { of = "bought", over = "9d" }\n%0')))
    assert.equal("filling", host:ask("reload", "--no-wait").result)
    host:accept(bought("three", 1), { type = "identify", user = "golden", payload = { tier = "gold" } }, bought "two")
    assert.same({ "segment.entered:regulars" }, host:said "two") -- those that serve know it meanwhile
    host:release()
    await_filled(host)
    assert_members { "three", "two", "golden" }
    host:accept(bought "three", bought "golden", bought "two")
    assert.same({}, host:said("three", 1, 0.5))
    assert.same({}, host:said("golden", 1, 0))
    assert.equal(1, #host:said "two")
  end)

  it("leaves it to others to say who has left them", function()
    host = Host.start { rules = { lately = [[
local kairos = require "kairos"
local orders = kairos.window { of = "bought", over = "1h" }
return {
  kairos.segment { name = "lately", member = function(user) return user:count(orders) >= 1 end },
  kairos.rule { name = "says", on = { "segment.entered", "segment.left" }, act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = event.type } }
  end },
}
]] }, config = configured { timers = { overdue_grace = "4s" } } }
    host:accept(bought("late", 1))
    assert.same({ "segment.entered:lately" }, host:said "late")
    write(host, "club", [[
local kairos = require "kairos"
local orders = kairos.window { of = "bought", over = "30d" }
return kairos.segment { name = "ever", member = function(user) return user:count(orders) > 0 end }
]])
    host:ask "reload"
    assert.same({ "segment.entered:lately", "segment.left:lately" }, host:said("late", 2, 20 * Host.patience))
    assert.same({ "entered", "left" }, judged("late", "lately"))
    assert.same({ "entered", "left" }, judged("late", "lately", "--replay"))
  end)

  it("is told by `kairos why --replay` as it was filled, from the tail and from what is sealed", function()
    host = Host.start { rules = { plain = saying("plain", "one") },
      config = configured { log = { segment_age = "1s" }, state = { checkpoint_every = "1s" } } }
    host:accept({ type = "viewed", user = "ada" }, { type = "bought", user = "ada" })
    write(host, "club", [[
local kairos = require "kairos"
local segment = kairos.segment
local bought = kairos.window { of = "bought", over = "10s" }
local viewed = kairos.window { of = "viewed", over = "10d" }
return {
  segment { name = "buyers_alone", member = function(user) return user:count(bought) > 0 and user:count(viewed) == 0 end },
  segment { name = "lookers_alone", member = function(user) return user:count(viewed) > 0 and user:count(bought) == 0 end },
  segment { name = "both", member = function(user) return user:count(viewed) > 0 and user:count(bought) > 0 end },
}
]])
    host:ask "reload"
    local function all(...)
      local found = {}
      for _, name in ipairs { "buyers_alone", "lookers_alone", "both" } do
        found[#found + 1] = table.concat(judged("ada", name, ...), " ")
      end
      return found
    end
    assert.is_true(process.eventually(30 * Host.patience, function() -- ten seconds, till "both" is left
      return #judged("ada", "lookers_alone") > 0
    end))
    local told = { "", "entered", "filled left" }
    assert.same(told, all())
    local again = { "", "entered", "left" }
    assert.same(again, all "--replay")
    local first = host:ask("status").sealed_segment
    assert.is_true(process.eventually(30 * Host.patience, function()
      host:accept { type = "other", user = "bob" }
      return host:ask("status").sealed_segment > first + 3
    end))
    assert.same(told, all())
    assert.same(again, all "--replay")
  end)

  describe("that means something else than before", function()
    --- Buyers of so many; rules are told. @param more  at its top
    local function buyers(least, more)
      return ([[
%MORE
local kairos = require "kairos"
local orders = kairos.window { of = "bought", over = "30d" }
local LEAST = %LEAST
local function enough(count) return count >= LEAST end
return {
  kairos.segment { name = "buyers", member = function(user) return enough(user:count(orders)) end },
  kairos.rule { name = "tells", on = { "segment.entered", "segment.left" }, act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = event.type } }
  end },
}
]]):gsub("%%MORE", more or ""):gsub("%%LEAST", tostring(least))
    end

    local function start(options)
      options.rules, options.config = { club = (buyers(2)) }, configured()
      host = Host.start(options)
      host:accept(bought("one", 1), bought("two", 1), bought("two", 2), bought("three", 1), bought("three", 2),
        bought("three", 3))
      assert.same({ "segment.entered:buyers" }, host:said "three")
    end

    it("judges every user anew, and those who enter or leave are told", function()
      start {}
      write(host, "club", (buyers(3)))
      local dry = host:command("reload", "--dry-run").out
      assert.truthy(dry:find("segment changed +buyers; each user will be judged anew, and rules are told"), dry)
      local answer = host:ask "reload"
      assert.equal("serving", answer.result)
      assert.same({ "buyers" }, answer.declared.segments_changed)
      assert.same({ "segment.entered:buyers", "segment.left:buyers" }, host:said("two", 2, 20 * Host.patience))
      assert.same({ "entered", "left" }, judged("two", "buyers"))
      assert.same({ "entered", "left" }, judged("two", "buyers", "--replay"))
      await_filled(host)
      write(host, "club", (buyers(1)))
      host:ask "reload"
      assert.same({ "segment.entered:buyers" }, host:said("one", 1, 20 * Host.patience))
      assert.same({ "segment.entered:buyers", "segment.entered:buyers", "segment.left:buyers" },
        host:said("two", 3, 20 * Host.patience))
      await_filled(host)
      assert.same({ "segment.entered:buyers" }, host:said("three", 2, 0.5))
      assert.same({}, host:dead())
    end)

    it("is as it was where only its comments and neighbours change", function()
      start {}
      write(host, "club", (buyers(2, "-- two orders\n\nlocal other = 5")))
      local answer = host:ask "reload"
      assert.equal("serving", answer.result)
      assert.same({}, answer.declared.segments_changed)
      assert.is_nil(answer.fill)
    end)

    it("goes by the newest meaning where another came before anybody was judged", function()
      start { hold = "fill.begin" }
      write(host, "club", (buyers(3)))
      assert.equal("serving", host:ask("reload").result)
      assert.same({ "buyers" }, rules_of(host).fill.segments)
      write(host, "club", (buyers(1)))
      assert.equal("serving", host:ask("reload").result)
      host:release()
      assert.same({ "segment.entered:buyers" }, host:said("one", 1, 20 * Host.patience))
      await_filled(host)
      assert.same({ "segment.entered:buyers" }, host:said("two", 2, 0.5))
    end)

    it("asks everybody after kill -9 too", function()
      start {}
      for number = 1, 100 do host:accept(bought("u" .. number, 1), bought("u" .. number, 2)) end
      host:stop()
      write(host, "club", (buyers(3)))
      local moments = { "generation.durable=kill", "fill.begin=kill", "fill.decide=kill@2", "fill.decide=kill@50",
        "fill.done=kill" }
      for _, moment in ipairs(moments) do
        host:launch { KAIROS_FAILPOINTS = moment }
        assert.is_true(process.eventually(20 * Host.patience, function() return not host.process:alive() end), moment)
        host:kill()
      end
      host:run()
      await_filled(host)
      for number = 1, 100 do
        assert.same({ "segment.entered:buyers", "segment.left:buyers" }, host:said("u" .. number, 2, 20 * Host.patience))
      end
    end)
  end)

  it("has them after kill -9 too", function()
    host = Host.start { rules = { plain = saying("plain", "one") }, config = configured() }
    history_of_segments()
    for number = 1, 300 do host:accept(bought("u" .. number, 1)) end
    write(host, "club", regulars)
    host:stop()
    local moments = { "fill.decide=kill@2", "fill.decide=kill@310", "fill.note=kill@2", "log.write=kill@12",
      "fill.done=kill" }
    for _, moment in ipairs(moments) do
      host:launch { KAIROS_FAILPOINTS = moment }
      assert.is_true(process.eventually(10 * Host.patience, function() return not host.process:alive() end), moment)
      host:kill()
    end
    host:run()
    await_filled(host)
    assert_members()
    host:accept(bought "two")
    assert.same({ "segment.entered:regulars" }, host:said "two")
    assert.same({}, host:said("golden", 1, 0.3))
  end)
end)
