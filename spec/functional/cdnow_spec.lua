-- Real input: 6,919 purchases of an online music shop. What `simulate` names is what an independent calculation names,
-- and what a running host does with the same events is what `simulate` says of them.
local Host = require "spec.functional.support.host"
local cdnow = require "spec.functional.support.cdnow"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local SOURCE, PREAMBLE = cdnow.SOURCE, cdnow.PREAMBLE
local calculate, lines_of = cdnow.calculate, cdnow.lines_of
local DAY = 86400000

-- The third order within 90 days, once: (now - 90 days, now].
local THIRD_ORDER = PREAMBLE .. [=[
  END { for (c in n) {
    for (i = 3; i <= n[c]; i++) if (days[c, i - 2] > days[c, i] - 90) { print c, "thank_you", days[c, i]; break }
  } }
]=]
-- 60 days after an order if no other followed; an order on the 60th day goes first; until UNTIL (in days) inclusive.
local WIN_BACK = PREAMBLE .. [=[
  END { for (c in n) for (i = 1; i <= n[c]; i++) {
    due = days[c, i] + 60
    followed = i < n[c] && days[c, i + 1] <= due
    if (!followed && due <= UNTIL) print c, "miss_you", due
  } }
]=]

describe("the CDNOW purchases", function()
  local directory, last_day
  setup(function()
    directory = files.temporary()
    if not files.exists(SOURCE) then return end
    process.shell(("tools/cdnow %s > %s/events.ndjson"):format(SOURCE, directory))
    for _, campaign in ipairs { "third_order", "win_back", "shared" } do
      files.make(directory .. "/rules")
      process.shell(("cp -r rules/%s %s/rules/"):format(campaign, directory))
    end
    last_day = tonumber(process.shell(("tail -n 1 %s/events.ndjson"):format(directory)):match '"timestamp":(%d+)')
    last_day = math.floor(last_day / DAY)
  end)
  teardown(function() files.remove(directory) end)

  local function need_data()
    if not files.exists(SOURCE) then pending(SOURCE .. " is not there") end
    return files.exists(SOURCE)
  end

  local function simulate(rules, events, ...)
    local result = process.run {
      command = { Host.binary, "simulate", "--rules", rules, "--events", events, ... }, seconds = 120 * Host.patience,
    }
    assert.equal(0, result.status, result.err)
    local decisions = {}
    for line in result.out:gmatch "[^\n]+" do decisions[#decisions + 1] = cjson.decode(line) end
    return decisions, result.out
  end

  --- "customer template day" of what was sent, sorted.
  local function named(decisions, template)
    local found = {}
    for _, decision in ipairs(decisions) do
      if decision.decision == "send" and decision.template == template then
        assert.equal(DAY / 2, decision.at % DAY)
        found[#found + 1] = ("%s %s %d"):format(decision.user_id, template, math.floor(decision.at / DAY))
      end
    end
    local path = directory .. "/named"
    files.write(path, table.concat(found, "\n") .. "\n")
    return process.shell("LC_ALL=C sort " .. path)
  end

  it("become one event a line, at 12:00 UTC, under the customer's first number", function()
    if not need_data() then return end
    local events = lines_of(files.read(directory .. "/events.ndjson"))
    assert.equal(6919, #events)
    local ids, users, amount = {}, {}, 0
    for _, line in ipairs(events) do
      local event = cjson.decode(line)
      ids[event.event_id], users[event.user_id] = true, true
      amount = amount + event.payload.amount
      assert.equal("order.completed", event.event_type)
      assert.equal(DAY / 2, event.timestamp % DAY)
    end
    local id_count, user_count = 0, 0
    for _ in pairs(ids) do id_count = id_count + 1 end
    for _ in pairs(users) do user_count = user_count + 1 end
    assert.equal(6919, id_count)
    assert.equal(2357, user_count)
    local total = process.shell(("tr -d '\\r' < %s | awk '{ s += $5 } END { printf \"%%.2f\", s }'"):format(SOURCE))
    assert.equal(total, ("%.2f"):format(amount))
  end)

  it("name the customers of a third order within 90 days, and the days", function()
    if not need_data() then return end
    local expected = calculate(THIRD_ORDER)
    assert.is_true(#lines_of(expected) > 300)
    assert.equal(expected, named(simulate(directory .. "/rules", directory .. "/events.ndjson"), "thank_you"))
  end)

  it("name those who did not come back for 60 days, and the days", function()
    if not need_data() then return end
    local expected = calculate(WIN_BACK, last_day)
    assert.is_true(#lines_of(expected) > 2000)
    assert.equal(expected, named(simulate(directory .. "/rules", directory .. "/events.ndjson"), "miss_you"))
  end)

  it("hold orders exactly on the 60th day, which go before the timer", function()
    if not need_data() then return end
    local on_the_day = calculate(PREAMBLE .. [[
      END { for (c in n) for (i = 1; i < n[c]; i++) if (days[c, i + 1] == days[c, i] + 60) print c, days[c, i + 1] }]])
    assert.is_true(#lines_of(on_the_day) > 0)
    local sent = named(simulate(directory .. "/rules", directory .. "/events.ndjson"), "miss_you")
    for _, line in ipairs(lines_of(on_the_day)) do
      local customer, day = line:match "^(%S+) (%S+)$"
      assert.falsy(("\n" .. sent):find(("\n%s miss_you %s\n"):format(customer, day), 1, true))
    end
  end)

  it("go on to --until, which decides the timers due after the last event", function()
    if not need_data() then return end
    for _, more in ipairs { 1, 30, 60, 400 } do
      local expected = calculate(WIN_BACK, last_day + more)
      local noon = (last_day + more) * DAY + DAY / 2
      local decisions = simulate(directory .. "/rules", directory .. "/events.ndjson", "--until", ("%.0f"):format(noon))
      assert.equal(expected, named(decisions, "miss_you"))
      -- A ms earlier that day's timers are not due.
      decisions = simulate(directory .. "/rules", directory .. "/events.ndjson", "--until", ("%.0f"):format(noon - 1))
      assert.equal(calculate(WIN_BACK, last_day + more - 1), named(decisions, "miss_you"))
    end
  end)

  it("in any order of lines give the same bytes", function()
    if not need_data() then return end
    process.shell(("LC_ALL=C sort -t'\"' -k12,12 -s %s/events.ndjson > %s/by_user.ndjson"):format(directory, directory))
    assert.not_equal(files.read(directory .. "/events.ndjson"), files.read(directory .. "/by_user.ndjson"))
    local _, straight = simulate(directory .. "/rules", directory .. "/events.ndjson")
    local _, shuffled = simulate(directory .. "/rules", directory .. "/by_user.ndjson")
    local function sorted(text)
      files.write(directory .. "/out", text)
      return process.shell("LC_ALL=C sort " .. directory .. "/out")
    end
    assert.equal(sorted(straight), sorted(shuffled))
    local _, again = simulate(directory .. "/rules", directory .. "/events.ndjson")
    assert.equal(straight, again)
  end)

  it("posted to a running host, through a kill -9, yield what simulate says of them", function()
    if not need_data() then return end
    local ending = Host.now() - 10000
    local said = process.shell(("tools/cdnow --compress-into 3d --ending %.0f %s 2>&1 > %s/live.ndjson"):format(
      ending, SOURCE, directory))
    local day = tonumber(said:match "1 day = (%d+) ms")
    local host = Host.new()
    finally(function() host:remove() end)
    -- The same campaigns on the compressed clock.
    process.shell("cp -r rules/shared " .. host.rules)
    for _, campaign in ipairs { "third_order", "win_back" } do
      process.shell(("cp -r rules/%s %s/ && sed -i 's/\"90d\"/\"%dms\"/; s/\"60d\"/\"%dms\"/' %s/%s/rule.lua"):format(
        campaign, host.rules, 90 * day, 60 * day, host.rules, campaign))
    end
    local expected = {}
    local decisions = simulate(host.rules, directory .. "/live.ndjson", "--until", ("%.0f"):format(ending))
    for _, decision in ipairs(decisions) do
      if decision.decision == "send" then expected[decision.message_id] = decision.user_id .. " " .. decision.template end
    end
    -- Compressing moves no boundary.
    local count = { thank_you = #lines_of(calculate(THIRD_ORDER)), miss_you = #lines_of(calculate(WIN_BACK, last_day)) }
    for _, text in pairs(expected) do
      local template = text:match "%S+$"
      count[template] = count[template] - 1
    end
    assert.same({ thank_you = 0, miss_you = 0 }, count)

    host.config.ingest = { max_past = "30d" }
    host:rewrite_config()
    host:run()
    local batch, posted = {}, 0
    local link
    --- In order: a batch is sent again until it has been acknowledged, and only then the next.
    local function flush()
      if #batch == 0 then return end
      local body = table.concat(batch, "\n") .. "\n"
      assert.truthy(process.eventually(60 * Host.patience, function()
        if not host.process:alive() then
          host:run()
          link = nil
        end
        if not link then
          local ok, fresh = pcall(host.connect, host)
          if not ok or not fresh then return false end
          link = fresh
        end
        local answer = link:request { body = body, headers = { ["Content-Type"] = "application/x-ndjson" } }
        if not answer then link = nil end
        return answer and answer.status == 202 and answer.json.accepted + answer.json.duplicates == #batch
      end))
      posted = posted + #batch
      batch = {}
    end
    local killed = false
    for line in io.lines(directory .. "/live.ndjson") do
      batch[#batch + 1] = line
      if #batch == 50 then
        if not killed and posted > 3000 then
          killed = true
          process.start { command = { "sh", "-c", ("sleep 0.02; kill -9 %d"):format(host.process.pid) } }
        end
        flush()
      end
    end
    flush()
    assert.equal(6919, posted)
    assert.is_true(killed)

    local wanted = 0
    for _ in pairs(expected) do wanted = wanted + 1 end
    host:await_messages(wanted, 60)
    local surplus, missing = {}, {}
    local found = {}
    for _, message in ipairs(host:messages()) do
      found[message.message_id] = true
    end
    for id, what in pairs(expected) do
      if not found[id] then missing[#missing + 1] = what end
    end
    -- Timers due after the last purchase may have fired meanwhile; they are what simulate says of the time until now.
    local later = {}
    decisions = simulate(host.rules, directory .. "/live.ndjson", "--until", ("%.0f"):format(Host.now()))
    for _, decision in ipairs(decisions) do later[decision.message_id] = true end
    for id in pairs(found) do
      if not expected[id] and not later[id] then surplus[#surplus + 1] = id end
    end
    assert.same({}, missing)
    assert.same({}, surplus)
  end)
end)
