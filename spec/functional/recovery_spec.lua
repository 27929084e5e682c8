-- kill -9 at any moment: every acknowledged event has taken effect exactly once.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local Sink = require "spec.functional.support.sink"

-- Says, of each event, how many of the user's it has counted, in the window and in the profile.
local counting = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
local sum  = kairos.window { of = "test.happened", over = "1d", sum = "payload.one" }
return kairos.rule {
  name = "counting",
  on = "test.happened",
  act = function(event, user)
    user:set("total", (user.total or 0) + 1)
    user:send { channel = "push", template = "said",
      data = { text = table.concat({ event.id, user:count(seen), user:sum(sum), user.total }, " ") } }
  end,
}
]]

local USERS = 40

--- Posts batches over several connections until each event has been acknowledged, however often the host dies.
local function load(host, events, batch, on_progress)
  local pending, acknowledged = {}, 0
  for first = 1, #events, batch do
    local piece = {}
    for index = first, math.min(first + batch - 1, #events) do piece[#piece + 1] = events[index] end
    pending[#pending + 1] = piece
  end
  local links = {}
  while #pending > 0 or next(links) do
    for slot = 1, 8 do
      if not links[slot] and #pending > 0 then
        local ok, link = pcall(http.connect, host.port, { seconds = 30 })
        if ok and link then
          local piece = table.remove(pending, 1)
          link:send(http.request_bytes { body = Host.json(piece) })
          links[slot] = { link = link, piece = piece }
        end
      end
    end
    for slot, entry in pairs(links) do
      local answer = entry.link:answer()
      if answer and answer.status == 202 and answer.json.accepted + answer.json.duplicates == #entry.piece then
        acknowledged = acknowledged + #entry.piece
      else
        table.insert(pending, 1, entry.piece)
      end
      entry.link:close()
      links[slot] = nil
      on_progress(acknowledged)
    end
    if not host.process:alive() then
      host:run(host.next_env)
    end
  end
end

-- All of one moment: a window is asked as of the event's own time, and connections (and batches that are sent again)
-- overtake one another.
local function make_events(count)
  local events, moment = {}, Host.now()
  for index = 1, count do
    events[index] = Host.event { id = "e" .. index, user = "user-" .. index % USERS, at = moment, payload = { one = 1 } }
  end
  return events
end

--- Each event said once, each user's counts 1, 2, 3, … without a gap or a repetition, in window, sum and profile alike.
local function assert_exactly_once(host, count)
  host:await_messages(count, 30)
  local seen_ids, by_user, total = {}, {}, 0
  for _, message in ipairs(host:messages()) do
    local id, windowed, sum, profile = message.body:match "^(%S+) (%S+) (%S+) (%S+)$"
    assert.is_nil(seen_ids[id], "two messages about " .. tostring(id))
    seen_ids[id] = true
    total = total + 1
    assert.equal(windowed, sum)
    assert.equal(windowed, profile)
    by_user[message.user_id] = by_user[message.user_id] or {}
    assert.is_nil(by_user[message.user_id][tonumber(windowed)], "a count came twice")
    by_user[message.user_id][tonumber(windowed)] = true
  end
  assert.equal(count, total)
  for user, counts in pairs(by_user) do
    for index = 1, count / USERS do assert.is_true(counts[index], user .. " lacks " .. index) end
  end
end

describe("a host that is killed under load", function()
  local host
  local function new(options)
    options.rules = { counting = counting }
    options.config = options.config
      or { log = { segment_age = "1s" }, state = { checkpoint_every = "300ms", write_behind = "50ms" } }
    host = Host.new(options)
    return host
  end
  after_each(function() host:remove() end)

  it("loses nothing and does nothing twice, again and again", function()
    new {}
    host:run()
    local events = make_events(2400)
    local kills, next_kill = 0, 200
    load(host, events, 20, function(acknowledged)
      if kills < 5 and acknowledged >= next_kill then
        kills, next_kill = kills + 1, acknowledged + 300
        -- Some time into what comes next, not at a quiet moment.
        process.start { command = { "sh", "-c", ("sleep 0.0%d; kill -9 %d"):format(kills * 7 % 10, host.process.pid) } }
      end
    end)
    process.eventually(0.3, function() return not host.process:alive() end)
    if not host.process:alive() then host:run() end
    assert.is_true(kills == 5)
    assert_exactly_once(host, 2400)
    for index = 1, 2400, 97 do
      local again = host:post(events[index])
      assert.equal(1, again.json.duplicates)
    end
  end)

  it("asks a provider about each message under one key only, and gets each there", function()
    local sink = Sink.start()
    finally(function() sink:remove() end)
    local orders = {}
    for index = 1, 60 do
      orders[index] = ({ { status = 500 }, { act = "close" }, { status = 200, delay = 30 }, { status = 429 } })[index % 4 + 1]
    end
    sink:answer { next = orders, default = { status = 200 } }
    host = Host.new { rules = { counting = (counting:gsub('channel = "push"', 'channel = "webhook"')) },
      env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) }, config = {
        providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET", backoff_base = "20ms",
          backoff_max = "100ms", attempts = 1000, timeout = "2s", breaker_failures = 1000 } },
        routes = { webhook = "hook" },
        state = { checkpoint_every = "300ms", write_behind = "50ms" },
      } }
    host:run()
    local kills = 0
    load(host, make_events(400), 20, function(acknowledged)
      if kills < 3 and acknowledged >= (kills + 1) * 100 then
        kills = kills + 1
        process.start { command = { "sh", "-c", ("sleep 0.0%d; kill -9 %d"):format(kills * 3, host.process.pid) } }
      end
    end)
    process.eventually(0.3, function() return not host.process:alive() end)
    if not host.process:alive() then host:run() end

    local keys, accepted
    process.eventually(20 * Host.patience, function()
      keys, accepted = {}, 0
      local done = {}
      for _, request in ipairs(sink:requests()) do
        local id = request.json.data.body:match "^%S+"
        keys[id] = keys[id] or request.headers["idempotency-key"]
        assert.equal(keys[id], request.headers["idempotency-key"], "a message under two keys")
        if request.answered == 200 and not done[id] then
          done[id] = true
          accepted = accepted + 1
        end
      end
      return accepted == 400
    end)
    assert.equal(400, accepted)
    local distinct = {}
    for _, key in pairs(keys) do
      assert.is_nil(distinct[key], "two messages under one key")
      distinct[key] = true
    end
    assert.same({}, host:dead())
  end)

  -- The same with the end at the worst places, one after the other.
  for point, hits in pairs {
    ["log.write"] = { 3, 9 }, ["log.fsync"] = { 3, 9 }, ["log.segment"] = { 1, 2 }, ["store.write"] = { 1, 4 },
    ["store.run"] = { 1, 2 },
    ["store.checkpoint"] = { 1, 2, 3, 4 }, ["store.ingest"] = { 1, 2 }, ["deliver.attempt_durable"] = { 1, 9 },
    ["deliver.sent"] = { 1, 9 },
  } do
    for _, hit in ipairs(hits) do
      it(("at %s, time %d"):format(point, hit), function()
        new { env = { KAIROS_FAILPOINTS = ("%s=kill@%d"):format(point, hit) } }
        host.next_env = { KAIROS_FAILPOINTS = "" }
        host:launch()
        local killed = not host:ready()
        if killed then host:run(host.next_env) end
        local first = host.process
        load(host, make_events(400), 20, function() end)
        -- Some of these come at intervals, and want something new to do.
        killed = killed or process.eventually(8, function()
          pcall(host.post, host, Host.event { type = "identify", user = "filler", payload = { at = Host.now() } })
          return not first:alive()
        end)
        assert.is_true(killed, "it never came there")
        if not host.process:alive() then host:run(host.next_env) end
        assert_exactly_once(host, 400)
      end)
    end
  end

  it("comes back in a time that does not grow with its history", function()
    new { config = { log = { segment_size = "64KB", segment_age = "1s" },
      state = { checkpoint_every = "300ms", write_behind = "50ms" } } }
    host:run()
    load(host, make_events(4000), 50, function() end)
    -- Megabytes went through segments of 64 KB; those that are sealed and behind the checkpoint are gone.
    local function segments()
      local count = 0
      for _, name in ipairs(files.under(host.data .. "/log")) do
        if name:match "%.log$" then count = count + 1 end
      end
      return count
    end
    assert.truthy(process.eventually(10 * Host.patience, function() return segments() <= 2 end), segments() .. " segments")
    host:kill()
    host:run()
    local records = host:output():match ".*records=(%d+)"
    assert.truthy(records, "the recovery's log line says how many records it read")
    assert.is_true(tonumber(records) < 4000, records .. " records read again")
    assert_exactly_once(host, 4000)
  end)
end)

describe("a host whose log is damaged", function()
  local host
  before_each(function()
    host = Host.start { rules = { counting = counting }, config = { state = { checkpoint_every = "1h" } } }
  end)
  after_each(function() host:remove() end)

  local function segments()
    local found = {}
    for _, name in ipairs(files.under(host.data)) do
      if name:match "log/%x+%.log$" then found[#found + 1] = host.data .. "/" .. name end
    end
    return found
  end

  it("cuts a torn tail, and says so", function()
    load(host, make_events(40), 1, function() end)
    host:kill()
    local path = segments()[#segments()]
    local text = files.read(path):gsub("%z+$", "")
    files.write(path, text .. "KAIROS half a group that never was durable")
    host:run()
    assert.truthy(host:output():lower():find "cut", "the log says what was cut")
    assert_exactly_once(host, 40)
  end)

  it("refuses to start on damage to what was durable, naming file and offset", function()
    load(host, make_events(200), 1, function() end)
    host:kill()
    local path = segments()[#segments()]
    local text = files.read(path)
    local middle = math.floor(#text:gsub("%z+$", "") / 2)
    files.write(path, text:sub(1, middle) .. "\255\255\255\255" .. text:sub(middle + 5))
    host:launch()
    local status = host.process:wait(20 * Host.patience)
    assert.is_number(status)
    assert.not_equal(0, status)
    local name = path:match "[^/]+$"
    assert.truthy(host:output():find(name, 1, true), "the log names the segment")
  end)
end)

describe("a user's record that the database cannot read", function()
  local waking = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
local function say(user, text) user:send { channel = "push", template = "said", data = { text = text } } end
return kairos.rule {
  name = "waking",
  on = "test.happened",
  act = function(event, user)
    say(user, event.id .. " " .. user:count(seen))
    if event.payload.after then user:after(event.payload.after, { name = "wake" }) end
  end,
  timers = { wake = function(_, user) say(user, "woken") end },
}
]]
  local host
  after_each(function() host:remove() end)

  --- The file with the users' records, of a host that does not run, and what was in it.
  local function users_file()
    for _, name in ipairs(files.under(host.data .. "/db")) do
      local path = host.data .. "/db/" .. name
      local text = name:match "%.sst$" and files.read(path) or ""
      if text:find("nameuser", 1, true) and text:find("ada", 1, true) then return path, text end
    end
    error "there is no file of users"
  end

  local function stop_and_spoil()
    host:stop()
    local path, text = users_file()
    local at = text:find("ada", 1, true)
    files.write(path, text:sub(1, at - 1) .. "xxx" .. text:sub(at + 3))
    return function() files.write(path, text) end
  end

  it("has his events answered \"retry\", his timers and commands wait, and everybody else goes on", function()
    host = Host.start { rules = { waking = waking } }
    host:accept({ id = "one", user = "ada", payload = { after = "1s" } }, { id = "one", user = "dan", payload = { after = "1s" } })
    host:said "ada"
    local mend = stop_and_spoil()
    host:run()
    -- Two users of one block have timers that are due, and nobody else asks for anything.
    assert.truthy(process.eventually(20 * Host.patience, function()
      return (host:metric "kairos_users_spoiled_total" or 0) >= 2
    end))
    local event = Host.event { id = "two", user = "ada" }
    for index = 1, 2 do
      local answer = host:post { event, Host.event { id = "bob" .. index, user = "bob" } }
      assert.equal(1, answer.json.accepted)
      assert.equal(1, #answer.json.rejected)
      assert.is_true(answer.json.rejected[1].retry)
    end
    assert.equal(0, host:post { event, Host.event { id = "three", user = "dan" } }.json.accepted)
    local asked = host:command("user", "ada")
    assert.not_equal(0, asked.status)
    assert.truthy(asked.err:find("the user's record cannot be read", 1, true), asked.err)
    assert.truthy(host:output():find("a user's record cannot be read", 1, true))
    assert.equal(0, host:metric "kairos_recoveries")
    assert.equal(1, host:metric "kairos_up")
    assert.equal(0, host:stop())
    mend()
    host:run()
    assert.equal(1, host:post(event).json.accepted)
    assert.same({ "one 1", "two 2", "woken" }, host:said("ada", 3))
    assert.same({ "bob1 1", "bob2 2" }, host:said("bob", 2))
  end)

  it("keeps the outcome of a message to him", function()
    local capped = [[
local kairos = require "kairos"
return kairos.rule {
  name = "capped",
  on = "test.happened",
  act = function(_, user)
    user:send { channel = "push", template = "said", cap = "1/1d", expires_in = "1s", data = { text = "soon" } }
  end,
}
]]
    host = Host.start { rules = { capped = capped }, config = { delivery = { paused = true } } }
    host:accept { id = "one", user = "ada" }
    local mend = stop_and_spoil()
    host:run()
    -- It expires, so that he has not used up his cap: that changes his record.
    assert.truthy(process.eventually(20 * Host.patience, function()
      return (host:metric "kairos_users_spoiled_total" or 0) >= 1
    end))
    assert.equal(0, host:metric "kairos_recoveries")
    host:stop()
    mend()
    host:run()
    assert.truthy(process.eventually(20 * Host.patience, function()
      local outcomes = host:ask("why", "ada")[1].outcomes
      return #outcomes > 0 and outcomes[#outcomes].outcome == "expired"
    end))
  end)
end)
