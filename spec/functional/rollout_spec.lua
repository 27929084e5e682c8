-- For whom and when a campaign runs: its share of the users, its dates and hours, shadows, pauses, priority.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local socket = require "socket"

local HOUR = 3600 * 1000

--- A campaign that writes to whoever says hello; `fields` more fields of kairos.rule, `more` more of its act.
local function greeting(fields, more)
  return ([[
local kairos = require "kairos"
local hellos = kairos.window { of = "hello", over = "30d" }
return kairos.rule {
  on = "hello", %s
  act = function(event, user)
    %s
    user:send { channel = "push", template = "said", to = "phone", data = { text = "hello " .. user:count(hellos) } }
  end,
  timers = { later = function(timer, user) user:send { channel = "push", template = "said", to = "phone",
    data = { text = "later" } } end },
}
]]):format(fields or "", more or "")
end

describe("in simulate", function()
  local directory
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Decisions on events given as {user, ms[, type, payload]}.
  local function simulate(rules, list, ...)
    files.remove(directory .. "/rules")
    for campaign, text in pairs(rules) do
      files.write(directory .. "/rules/" .. campaign .. "/rule.lua", text)
      files.write(directory .. "/rules/" .. campaign .. "/said.txt", "{{text}}")
    end
    local events = {}
    for index, one in ipairs(list) do
      events[index] = Host.event { user = one[1], at = one[2], type = one[3] or "hello", payload = one[4] }
    end
    files.write(directory .. "/events.ndjson", Host.ndjson(events))
    local result = process.run { command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events",
      directory .. "/events.ndjson", ... }, seconds = 60 * Host.patience }
    assert.equal(0, result.status, result.err)
    local decisions = {}
    for line in result.out:gmatch "[^\n]+" do decisions[#decisions + 1] = cjson.decode(line) end
    return decisions
  end
  local function users_of(decisions)
    local found = {}
    for _, decision in ipairs(decisions) do found[decision.user_id] = true end
    return found
  end
  local function count(set)
    local n = 0
    for _ in pairs(set) do n = n + 1 end
    return n
  end

  it("a share of the users is sticky, grows by adding, and differs between campaigns", function()
    local events = {}
    for index = 1, 2000 do events[index] = { "user-" .. index, 1764000000000 + index } end
    local before = {}
    for _, share in ipairs { "0%", "10%", "25%", "100%" } do
      local now = users_of(simulate({ greet = greeting(('rollout = "%s",'):format(share)) }, events))
      for user in pairs(before) do assert.is_true(now[user], user .. " fell out at " .. share) end
      local wanted = tonumber(share:match "%d+") / 100 * 2000
      assert.is_true(math.abs(count(now) - wanted) <= 80, share .. ": " .. count(now))
      before = now
    end
    local both = simulate({ greet = greeting 'rollout = "50%",', other = greeting 'rollout = "50%",' }, events)
    local campaigns = { greet = 0, other = 0 }
    local of = {}
    for _, decision in ipairs(both) do
      campaigns[decision.campaign] = campaigns[decision.campaign] + 1
      of[decision.user_id] = (of[decision.user_id] or 0) + 1
    end
    local twice = 0
    for _, times in pairs(of) do twice = twice + (times == 2 and 1 or 0) end
    assert.is_true(math.abs(twice - 500) <= 80, tostring(twice)) -- a half of a half
    assert.is_true(math.abs(campaigns.greet - 1000) <= 100, tostring(campaigns.greet))
  end)

  it("dates bound it, at the moment they name", function()
    local rules = { greet = greeting 'starts = "2026-11-27 09:00 Europe/Berlin", ends = "2026-11-28 00:00 Europe/Berlin",' }
    local starts, ends = 1795766400000, 1795820400000 -- 2026-11-27 08:00 and 23:00 UTC
    local decisions = simulate(rules, { { "a", starts - 1 }, { "b", starts }, { "c", ends - 1 }, { "d", ends } })
    assert.same({ b = true, c = true }, users_of(decisions))
  end)

  it("hours without a zone are the user's own, and what is outside them is counted all the same", function()
    local rules = { greet = greeting 'hours = "09:00-18:00",' }
    local noon = 1795608000000 -- 2026-11-25 12:00 UTC
    local function lives(user, zone) return { user, noon - HOUR, "identify", { time_zone = zone } } end
    local decisions = simulate(rules, {
      lives("berlin", "Europe/Berlin"), lives("tokyo", "Asia/Tokyo"), lives("odd", "Mars/Olympus"),
      { "berlin", noon - 5 * HOUR }, { "berlin", noon }, { "tokyo", noon }, { "nowhere", noon }, { "odd", noon },
    })
    assert.same({ berlin = true, nowhere = true, odd = true }, users_of(decisions))
  end)

  it("a timer that comes due outside its hours waits for the opening, also over a change of clocks", function()
    local rules = { greet = greeting('hours = "08:00-20:00 Europe/Berlin",',
      'do return user:after("12h", { name = "later" }) end') }
    -- 2026-10-24 and 2026-10-25, noon in Berlin: the nights before and after clocks are put back.
    local first, second = 1792836000000, 1792926000000
    local decisions = simulate(rules, { { "a", first }, { "b", second } }, "--until", tostring(second + 48 * HOUR))
    assert.equal(2, #decisions)
    assert.equal(first + 21 * HOUR, decisions[1].at)  -- 08:00 the day after has an hour more
    assert.equal(second + 20 * HOUR, decisions[2].at)
  end)

  it("of campaigns that want one event the higher priority goes first", function()
    local rules = {
      able = greeting('', 'user:set("taker", "able")'),
      zulu = greeting('priority = 5,', 'user:set("taker", "zulu")'),
      mike = greeting('priority = -5,', 'user:set("taker", "mike")'),
    }
    local order = {}
    for index, decision in ipairs(simulate(rules, { { "a", 1764000000000 } })) do order[index] = decision.campaign end
    assert.same({ "zulu", "able", "mike" }, order)
  end)

  it("where a cap leaves room for one message, the first in priority takes it, and a shadow takes none", function()
    files.write(directory .. "/kairos.yaml", 'caps: ["1/1d"]\n')
    local rules = {
      able = greeting(), zulu = greeting 'priority = 5,', shade = greeting 'priority = 9, mode = "shadow",',
    }
    local told = {}
    for index, d in ipairs(simulate(rules, { { "a", 1764000000000 } }, "--config", directory .. "/kairos.yaml")) do
      told[index] = ("%s %s %s"):format(d.campaign, d.decision, d.reason)
    end
    assert.same({ "shade skip shadow", "zulu send ", "able skip cap" }, told)
  end)

  it("of campaigns that compete, the first that sends for an event is the only one", function()
    local rules = {
      able = greeting 'competes = "hello",', zulu = greeting 'priority = 5, competes = "hello",', mike = greeting(),
    }
    local told = {}
    for index, d in ipairs(simulate(rules, { { "a", 1764000000000 } })) do
      told[index] = ("%s %s %s"):format(d.campaign, d.decision, d.reason)
    end
    assert.same({ "zulu send ", "able skip priority", "mike send " }, told)
  end)

  it("a shadow decides as if it were live, sends nothing, and is seen by nobody", function()
    local rules = {
      shadow = greeting('mode = "shadow",', 'user:set("mark", "shadow") if not user:once("x", "1h") then return end'),
      live = greeting('', 'if user.mark then error "seen" end'),
    }
    local result = simulate(rules, { { "a", 1764000000000 }, { "a", 1764000000001 } })
    local told = {}
    for index, d in ipairs(result) do told[index] = ("%s %s %s"):format(d.campaign, d.decision, d.reason) end
    assert.same({ "live send ", "shadow skip shadow", "live send " }, told)
  end)
end)

describe("on a host", function()
  local host
  after_each(function() host:remove() end)

  local function hello(user, more)
    host:accept { type = "hello", user = user, payload = more }
  end

  --- What `kairos why` tells, once there is something to tell.
  local function decided(user)
    local found, decisions
    process.eventually(10 * Host.patience, function()
      found, decisions = pcall(host.ask, host, "why", user)
      return found and #decisions > 0
    end)
    assert.is_true(found, decisions)
    return decisions
  end

  it("why --replay says what kept a campaign from running", function()
    host = Host.start { rules = {
      share = greeting 'rollout = "0%",', paused = greeting 'mode = "paused",', live = greeting(),
      early = greeting 'starts = "2099-01-01",', late = greeting 'ends = "2020-01-01",',
    } }
    hello "ada"
    host:said "ada"
    local reasons = {}
    for _, row in ipairs(host:ask("why", "ada", "--replay")) do
      reasons[row.campaign] = row.decision .. ": " .. row.reason
      assert.equal(row.campaign == "live", row.ran)
    end
    assert.truthy(reasons.share:match "^none: not in the 0%% of its roll%-out %(bucket %d+%)$", reasons.share)
    assert.equal("none: paused", reasons.paused)
    assert.equal("none: starts 2099-01-01", reasons.early)
    assert.equal("none: ended 2020-01-01", reasons.late)
    assert.equal("send: ", reasons.live)
    local words = host:command("why", "ada", "--replay").out
    assert.truthy(words:find("share did not run: not in the 0% of its roll-out (bucket ", 1, true), words)
    assert.equal(1, host:metric("kairos_rule_not_run_total", 'campaign="share",reason="rollout"'))
    assert.equal(1, host:metric("kairos_rule_not_run_total", 'campaign="early",reason="starts"'))
    assert.equal(0, host:metric("kairos_rule_not_run_total", 'campaign="early",reason="paused"'))
    assert.equal(0, host:metric("kairos_rule_calls_total", 'campaign="share"'))
  end)

  it("a replay says of each user what was said of him", function()
    host = Host.start { rules = { half = greeting 'rollout = "50%",', shade = greeting 'rollout = "50%", mode = "shadow",' } }
    local seen = { sent = 0, shadowed = 0, none = 0 }
    for index = 1, 12 do hello("user-" .. index) end
    host:await_messages(1)
    for index = 1, 12 do
      local user = "user-" .. index
      local found, ledger = pcall(host.ask, host, "why", user)
      local lived = {}
      for _, decision in ipairs(found and ledger or {}) do lived[decision.campaign] = decision.decision end
      for _, row in ipairs(host:ask("why", user, "--replay")) do
        assert.equal(lived[row.campaign] or "none", row.decision, user .. " " .. row.campaign)
        local kind = row.decision == "send" and "sent" or row.decision == "skip" and "shadowed" or "none"
        seen[kind] = seen[kind] + 1
      end
    end
    assert.is_true(seen.sent > 0 and seen.shadowed > 0 and seen.none > 0)
    assert.equal(24, seen.sent + seen.shadowed + seen.none)
  end)

  it("what a campaign was not run for, its windows have counted", function()
    host = Host.start { rules = { greet = greeting 'mode = "paused",' } }
    hello "ada"
    hello "ada"
    host:stop()
    files.write(host.rules .. "/greet/rule.lua", greeting())
    host:run()
    hello "ada"
    assert.same({ "hello 3" }, host:said "ada")
  end)

  it("a shadow's would-be messages are in ledger and metrics, and never leave", function()
    host = Host.start { rules = { shade = greeting('mode = "shadow",', 'user:set("vip", true)') } }
    hello "ada"
    local decisions = host:ask("why", "ada")
    assert.equal(1, #decisions)
    assert.equal("skip", decisions[1].decision)
    assert.equal("shadow", decisions[1].reason)
    assert.is_string(decisions[1].checks.shadow)
    assert.is_string(decisions[1].checks.suppressed)
    assert.is_nil(host:ask("user", "ada").attributes.vip)
    assert.equal(1, host:metric("kairos_decisions_total", 'campaign="shade",decision="shadow"'))
    assert.equal(0, host:metric("kairos_decisions_total", 'campaign="shade",decision="send"'))
    local words = host:command("why", "ada").out
    assert.truthy(words:find("was not sent: shadow", 1, true), words)
    local rows = host:ask("why", "ada", "--replay")
    assert.equal("skip", rows[1].decision)
    assert.equal("shadow", rows[1].reason)
    assert.same({}, host:messages())
  end)

  it("a timer due while its campaign is paused is dropped, and why says so, also after a restart", function()
    local setting = greeting('', 'do return user:after("1s", { name = "later" }) end')
    host = Host.start { rules = { greet = setting } }
    hello "ada"
    host:stop()
    files.write(host.rules .. "/greet/rule.lua", (setting:gsub('on = "hello",', 'on = "hello", mode = "paused",')))
    host:run()
    local decisions = decided "ada"
    assert.equal(1, #decisions)
    assert.equal("none", decisions[1].decision)
    assert.equal("paused", decisions[1].reason)
    assert.equal("greet", decisions[1].campaign)
    assert.truthy(decisions[1].cause:match "^timer:greet/later@%d+$")
    assert.is_nil(decisions[1].moved_to)
    local words = host:command("why", "ada").out
    assert.truthy(words:find("greet's timer did not run: paused", 1, true), words)
    host:kill()
    host:run()
    assert.same(decisions, host:ask("why", "ada"))
    assert.equal(0, #host:ask("user", "ada").timers)
    local replayed = host:ask("why", "ada", "--replay")
    assert.equal("none: paused", replayed[#replayed].decision .. ": " .. replayed[#replayed].reason)
  end)

  it("a timer that came due too late says so", function()
    local setting = greeting('', 'do return user:after("1s", { name = "later", late = "skip", late_after = "200ms" }) end')
    host = Host.start { rules = { greet = setting } }
    hello "ada"
    host:stop()
    socket.sleep(1.5)
    host:run()
    local decisions = decided "ada"
    assert.equal("none", decisions[1].decision)
    assert.truthy(decisions[1].reason:match "^%d+m?s late, and its late_after is 200ms$", decisions[1].reason)
    assert.same({}, host:messages())
  end)

  it("a timer due outside its hours is set anew for the opening", function()
    -- Closed now, and for the next minutes, wherever the clock stands: hours that begin in half an hour.
    local opens = math.floor(Host.now() / 60000) * 60000 + 30 * 60000
    local hours = os.date("!%H:%M", opens / 1000) .. "-" .. os.date("!%H:%M", opens / 1000 + 600)
    local setting = greeting('', 'do return user:after("1s", { name = "later" }) end')
    host = Host.start { rules = { greet = setting } }
    hello "ada"
    host:stop()
    files.write(host.rules .. "/greet/rule.lua",
      (setting:gsub('on = "hello",', ('on = "hello", hours = "%s UTC",'):format(hours))))
    host:run()
    local decisions = decided "ada"
    assert.equal("outside its hours (" .. hours .. " UTC)", decisions[1].reason)
    assert.equal(opens, decisions[1].moved_to)
    assert.equal(opens, host:ask("user", "ada").timers[1].due)
    assert.truthy(host:command("why", "ada").out:find("due again", 1, true))
    host:kill()
    host:run()
    assert.equal(opens, host:ask("user", "ada").timers[1].due)
  end)

  it("an operator's pause holds through reloads and restarts, says who and why, and ends on command", function()
    host = Host.start { rules = { greet = greeting(), other = greeting() } }
    hello "ada"
    host:said("ada", 2)
    local slip = host:command("pause", "greet")
    assert.equal(3, slip.status)
    assert.equal('kairos: there is no provider "greet"; there are: files; a campaign is named with --campaign greet\n', slip.err)
    local answer = host:ask("pause", "--campaign", "greet", "--reason", "wrong price")
    assert.equal("serving", answer.result)
    assert.equal(2, answer.generation)
    hello "bob"
    assert.same({ "hello 1" }, host:said "bob") -- of the other
    files.write(host.rules .. "/greet/rule.lua", greeting("priority = 5,"))
    host:ask "reload"
    hello "cid"
    assert.same({ "hello 1" }, host:said "cid")
    host:kill()
    host:run()
    hello "dan"
    assert.same({ "hello 1" }, host:said "dan")
    local rows = host:ask("why", "dan", "--replay")
    local reasons = {}
    for _, row in ipairs(rows) do reasons[row.campaign] = row.decision .. ": " .. row.reason end
    assert.truthy(reasons.greet:match "^none: paused by %S+: wrong price$", reasons.greet)
    -- A replay of what was before the pause says what it said.
    for _, row in ipairs(host:ask("why", "ada", "--replay")) do assert.equal("send", row.decision) end
    local listed = host:command("generations").out
    assert.truthy(listed:find("paused: greet", 1, true), listed)
    assert.equal("unchanged", host:ask("pause", "--campaign", "greet").result)
    assert.truthy(host:command("pause", "--campaign", "greet").out:find("is paused already", 1, true))
    local words = host:command("resume", "--campaign", "greet")
    assert.equal(0, words.status, words.err)
    assert.truthy(words.out:find("Resumed from generation", 1, true), words.out)
    hello "eve"
    assert.same({ "hello 1", "hello 1" }, host:said("eve", 2))
  end)

  it("a pause names its campaign, or is told what is near", function()
    host = Host.start { rules = { greet = greeting() } }
    local result = host:command("pause", "--campaign", "gret")
    assert.equal(3, result.status)
    assert.truthy(result.err:find("there is no campaign `gret`; did you mean `greet`?", 1, true), result.err)
    result = host:command("resume", "--campaign", "xyz")
    assert.equal(3, result.status)
    assert.truthy(result.err:find("there is no campaign `xyz`; `kairos campaigns` lists them", 1, true), result.err)
    assert.equal(2, host:command("pause", "files", "--campaign", "greet").status)
    assert.equal(2, host:command("pause", "--reason", "x").status)
    local generations = host:ask "generations"
    assert.equal(1, generations.serving)
    assert.same({}, generations.failed) -- a slip of the pen is no failed reload
  end)

  it("kairos campaigns shows what there is and how it runs", function()
    host = Host.start { rules = {
      greet = greeting('priority = 5,', 'if event.payload.fail then error "on purpose" end'),
      quiet = greeting 'rollout = "0%",',
      shade = greeting('mode = "shadow", hours = "mon-sun 00:00-24:00 UTC",'),
      early = greeting 'starts = "2099-01-01",',
      twice = (greeting('', 'do return user:send { channel = "email", template = "said", to = "a@b.example", '
        .. 'once_per = "1d" } end')),
    } }
    hello "ada"
    hello("ada", { fail = true })
    host:said "ada"
    host:ask("pause", "--campaign", "quiet", "--reason", "why not")
    local answer = host:ask "campaigns"
    assert.equal(2, answer.generation)
    local of, names = {}, {}
    for index, campaign in ipairs(answer.campaigns) do
      of[campaign.campaign] = campaign
      names[index] = campaign.campaign
    end
    assert.same({ "early", "greet", "quiet", "shade", "twice" }, names)
    assert.equal("live", of.greet.state)
    assert.equal(5, of.greet.priority)
    assert.equal("100%", of.greet.rollout)
    assert.same({ "hello" }, of.greet.on)
    assert.same({ "later" }, of.greet.timers)
    assert.same({ "count hello 30d" }, of.greet.windows)
    assert.same({ { template = "said", channels = { "push" } } }, of.greet.templates)
    assert.equal(2, of.greet.calls)
    assert.equal(1, of.greet.errors)
    assert.equal(1, of.greet.decisions.send)
    assert.is_true(of.greet.mean_us > 0)
    assert.equal("paused", of.quiet.state)
    assert.equal("live", of.quiet.mode)
    assert.equal("why not", of.quiet.paused.reason)
    assert.is_string(of.quiet.paused.by)
    assert.same({ rollout = 2 }, of.quiet.not_run)
    assert.equal("shadow", of.shade.state)
    assert.equal(2, of.shade.decisions.shadow)
    assert.is_nil(of.shade.decisions.send)
    assert.equal("starts 2099-01-01", of.early.state)
    assert.same({ once_per = 1 }, of.twice.skips)
    assert.equal(1, of.twice.decisions.skip)
    assert.equal(1, host:metric("kairos_skips_total", 'campaign="twice",reason="once_per"'))

    local words = host:command("campaigns").out
    assert.truthy(words:find "quiet%s+paused by %S+%s+0%%", words)
    assert.truthy(words:find("0, would 2", 1, true), words)
    assert.truthy(words:find("1 (once_per 1)", 1, true), words)
    assert.same({}, answer.gone)
    files.remove(host.rules .. "/quiet")
    host:ask "reload"
    assert.equal("quiet", host:ask("campaigns").gone[1].campaign)
    words = host:command("campaigns").out
    assert.truthy(words:find("quiet is paused by ", 1, true), words)
    files.write(host.rules .. "/quiet/rule.lua", greeting 'rollout = "0%",')
    files.write(host.rules .. "/quiet/said.txt", "{{text}}")
    host:ask "reload"
    assert.same({}, host:ask("campaigns").gone)
    words = host:command("campaigns", "quiet").out
    assert.truthy(words:find("why not", 1, true), words)
    assert.truthy(words:find "\ntemplates +said %(push%)\n", words)
    local miss = host:command("campaigns", "quite")
    assert.equal(3, miss.status)
    assert.truthy(miss.err:find("did you mean `quiet`?", 1, true), miss.err)

    host:stop()
    words = host:command("campaigns").out
    assert.truthy(words:find "early%s+starts 2099%-01%-01", words)
    assert.truthy(words:find("No host was asked", 1, true), words)
    assert.equal(5, #host:ask("campaigns").campaigns)
  end)
end)
