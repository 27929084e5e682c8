-- Real input: a segment "three orders in 90 days" and a journey that wins customers back name those, and on those days,
-- that an independent calculation names; and a host that counts from its log what it has not counted live says the same.
local Host = require "spec.functional.support.host"
local cdnow = require "spec.functional.support.cdnow"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local DAY = 86400000

local SEGMENT = [[
local kairos = require "kairos"
local orders = kairos.window { of = "order.completed", over = "%s" }
return {
  kairos.segment { name = "three_in_90", member = function(user) return user:count(orders) >= 3 end },
  kairos.rule {
    name = "tells",
    on = { "segment.entered", "segment.left" },
    act = function(event, user)
      local template = event.type == "segment.entered:three_in_90" and "entered" or "left"
      user:send { channel = "push", to = "x", template = template, data = { at = event.timestamp } }
    end,
  },
}
]]
local JOURNEY = [[
local kairos = require "kairos"
return kairos.journey {
  name = "wins_back",
  start = { on = "order.completed" },
  again = "restart",
  run = function(journey)
    journey:wait "60d"
    journey:send { channel = "push", to = "x", template = "miss_you" }
  end,
}
]]
local THIRD = [[
local kairos = require "kairos"
local orders = kairos.window { of = "order.completed", over = "%s" }
return kairos.rule {
  name = "third",
  on = "order.completed",
  when = function(_, user) return user:count(orders) >= 3 end,
  act = function(event, user)
    user:send { channel = "push", to = "x", template = "third", data = { at = event.timestamp }, once_per = "3650d" }
  end,
}
]]
local PLAIN = [[
local kairos = require "kairos"
return kairos.rule { name = "plain", on = "never", act = function() end }
]]

-- Who comes and goes, in the order of events and of the moments at which an order leaves the 90 days: (now - 90 days, now].
-- At one moment the event goes first.
local COME_AND_GO = cdnow.PREAMBLE .. [=[
  function count(c, upto, now,    k, sum) {
    for (k = 1; k <= upto; k++) if (days[c, k] > now - 90 && days[c, k] <= now) sum++
    return sum + 0
  }
  function leave(c, known, from, to, inclusive,    j, due) {
    for (j = 1; j <= known; j++) {
      due = days[c, j] + 90
      if (due <= from || due > to || (due == to && !inclusive)) continue
      if (member && count(c, known, due) < 3) { member = 0; print c, "left", due }
    }
  }
  END { for (c in n) {
    member = 0
    for (i = 1; i <= n[c]; i++) {
      d = days[c, i]
      if (i > 1) leave(c, i - 1, days[c, i - 1], d, 0)
      now = count(c, i, d)
      if (!member && now >= 3) { member = 1; print c, "entered", d }
      if (member && now < 3) { member = 0; print c, "left", d }
    }
    leave(c, n[c], days[c, n[c]], UNTIL, 1)
  } }
]=]
-- Who is in after the last purchase of all.
local MEMBERS = cdnow.PREAMBLE .. [=[
  END { for (c in n) {
    sum = 0
    for (i = 1; i <= n[c]; i++) if (days[c, i] > UNTIL - 90) sum++
    if (sum >= 3) print c
  } }
]=]
local WIN_BACK = cdnow.PREAMBLE .. [=[
  END { for (c in n) for (i = 1; i <= n[c]; i++) {
    due = days[c, i] + 60
    followed = i < n[c] && days[c, i + 1] <= due
    if (!followed && due <= UNTIL) print c, "miss_you", due
  } }
]=]
-- The first order from day SPLIT on that is the third within 90 days, whenever the other two were.
local THIRD_FROM = cdnow.PREAMBLE .. [=[
  END { for (c in n) for (i = 3; i <= n[c]; i++)
    if (days[c, i] >= UNTIL && days[c, i - 2] > days[c, i] - 90) { print c, "third", days[c, i]; break } }
]=]

describe("the CDNOW purchases", function()
  local directory, last_day
  setup(function()
    directory = files.temporary()
    if not files.exists(cdnow.SOURCE) then return end
    process.shell(("tools/cdnow %s > %s/events.ndjson"):format(cdnow.SOURCE, directory))
    local last = process.shell(("tail -n 1 %s/events.ndjson"):format(directory))
    last_day = math.floor(tonumber(last:match '"timestamp":(%d+)') / DAY)
  end)
  teardown(function() files.remove(directory) end)

  local function need_data()
    if not files.exists(cdnow.SOURCE) then pending(cdnow.SOURCE .. " is not there") end
    return files.exists(cdnow.SOURCE)
  end

  local function write(rules, campaign, text)
    files.write(("%s/%s/rule.lua"):format(rules, campaign), text)
    for _, template in ipairs { "entered", "left", "miss_you", "third" } do
      files.write(("%s/%s/%s.txt"):format(rules, campaign, template), template .. " {{at}}")
    end
  end

  --- "customer template day" of what simulate sends, sorted.
  local function simulated(until_day)
    local result = process.run { command = { Host.binary, "simulate", "--rules", directory .. "/rules", "--events",
      directory .. "/events.ndjson", "--until", ("%.0f"):format(until_day * DAY + DAY / 2) }, seconds = 120 * Host.patience }
    assert.equal(0, result.status, result.err)
    local found = {}
    for line in result.out:gmatch "[^\n]+" do
      local decision = cjson.decode(line)
      if decision.decision == "send" then
        assert.equal(DAY / 2, decision.at % DAY)
        found[#found + 1] = ("%s %s %d"):format(decision.user_id, decision.template, math.floor(decision.at / DAY))
      end
    end
    files.write(directory .. "/named", table.concat(found, "\n") .. "\n")
    return process.shell(("LC_ALL=C sort %s/named"):format(directory))
  end

  it("put customers into a segment of three orders in 90 days, and out of it, on the days", function()
    if not need_data() then return end
    files.remove(directory .. "/rules")
    write(directory .. "/rules", "club", SEGMENT:format "90d")
    local expected = cdnow.calculate(COME_AND_GO, last_day + 100)
    assert.is_true(#cdnow.lines_of(expected) > 600)
    assert.equal(expected, simulated(last_day + 100))
  end)

  it("start a journey that writes to those who did not come back for 60 days, on the days", function()
    if not need_data() then return end
    files.remove(directory .. "/rules")
    write(directory .. "/rules", "wins_back", JOURNEY)
    local expected = cdnow.calculate(WIN_BACK, last_day + 10)
    assert.is_true(#cdnow.lines_of(expected) > 2000)
    assert.equal(expected, simulated(last_day + 10))
  end)

  it("counted from the log name the same customers and days as counted live", function()
    if not need_data() then return end
    local ending = Host.now() - 20000
    local said = process.shell(("tools/cdnow --compress-into 3d --ending %.0f %s 2>&1 > %s/live.ndjson"):format(
      ending, cdnow.SOURCE, directory))
    local day = tonumber(said:match "1 day = (%d+) ms")
    local over = ("%dms"):format(90 * day)
    local host = Host.start { rules = { plain = PLAIN }, config = { ingest = { max_past = "20d" }, rules = { watch = false },
      log = { segment_size = "256KB" } } }
    finally(function() host:remove() end)
    local split_day, before, behind = last_day - 200, {}, {}
    for line in io.lines(directory .. "/live.ndjson") do
      local at = tonumber(line:match '"timestamp":(%d+)')
      local list = last_day - math.floor((ending - at) / day + 0.5) < split_day and before or behind
      list[#list + 1] = line
    end
    assert.is_true(#before > 3000 and #behind > 800)
    local function post(list)
      for first = 1, #list, 300 do
        local body = table.concat(list, "\n", first, math.min(first + 299, #list)) .. "\n"
        local answer = host:post(body, { ["Content-Type"] = "application/x-ndjson" })
        assert.equal(202, answer.status)
        assert.equal(0, #(answer.json.rejected or {}))
      end
    end
    post(before)
    write(host.rules, "third", THIRD:format(over))
    assert.is_true(host:ask("reload").filled.users > 1000)
    post(behind)

    -- Who orders a third time after the fill is told by what the log knew, on the very order.
    local expected = cdnow.calculate(THIRD_FROM, split_day)
    local wanted = #cdnow.lines_of(expected)
    assert.is_true(wanted > 100)
    host:await_messages(wanted, 30)
    local found = {}
    for _, message in ipairs(host:messages()) do
      local at = tonumber(message.body:match "third ([%d.e+]+)")
      found[#found + 1] = ("%s third %d"):format(message.user_id, last_day - math.floor((ending - at) / day + 0.5))
    end
    table.sort(found)
    assert.equal(expected, table.concat(found, "\n") .. "\n")

    -- Who is in a new segment now: all of it from windows that were filled.
    write(host.rules, "club", SEGMENT:format(over))
    host:ask "reload"
    assert.is_true(Host.now() < ending + day) -- a day of these has not passed since the last purchase
    local members, next_user = {}, nil
    repeat
      local page = next_user and host:ask("segments", "three_in_90", next_user) or host:ask("segments", "three_in_90")
      for _, member in ipairs(page.members) do members[#members + 1] = member.user end
      next_user = type(page.next) == "string" and page.next ~= "" and page.next or nil
    until not next_user
    table.sort(members)
    expected = cdnow.calculate(MEMBERS, last_day)
    assert.is_true(#cdnow.lines_of(expected) > 20)
    assert.equal(expected, table.concat(members, "\n") .. "\n")
    assert.equal(wanted, #host:messages()) -- nobody has entered
  end)
end)
