-- user:after: a rule that wakes up later, by name.
local Host = require "spec.functional.support.host"
local process = require "spec.functional.support.process"
local socket = require "socket"

local waiting = [[
local kairos = require "kairos"
local function say(user, text)
  user:send { channel = "push", template = "said", data = { text = text } }
end
return kairos.rule {
  name = "waiting",
  on = { "wait", "stop" },
  act = function(event, user)
    if event.type == "stop" then return user:cancel(event.payload.name or "wake") end
    local name = event.payload.name or "wake"
    if event.payload.at then return user:at(event.payload.at, { name = name, data = { word = event.payload.word } }) end
    user:after(event.payload.after, {
      name = name, data = { word = event.payload.word }, cancel_on = event.payload.cancel_on,
      late = event.payload.late, late_after = event.payload.late_after,
    })
  end,
  timers = {
    wake = function(timer, user) say(user, timer.data.word) end,
    other = function(timer, user) say(user, "other " .. timer.data.word) end,
    again = function(timer, user)
      say(user, "again " .. timer.data.word)
      if timer.data.word > 1 then user:after("50ms", { name = "again", data = { word = timer.data.word - 1 } }) end
    end,
    failing = function(timer) error("no " .. timer.data.word) end,
    in_place = function(timer, user) user:at(timer.due, { name = "in_place", data = timer.data }) end,
    around = function(timer, user) user:emit { type = "wait", payload = { at = timer.due, name = "around" } } end,
  },
}
]]

local catching_up = [[
local kairos = require "kairos"
return kairos.rule {
  name = "catching_up",
  on = "begin",
  act = function(event, user) user:after("1s", { name = "step", data = { left = 90 } }) end,
  timers = {
    step = function(timer, user)
      local left = timer.data.left
      if left % 10 == 0 then user:after("1ms", { name = "tell" }) end
      if left > 1 then user:after("10ms", { name = "step", data = { left = left - 1 } }) end
    end,
    tell = function() error "the host's clock is in the dead letter" end,
  },
}
]]

local HOUR = 3600 * 1000

describe("a timer", function()
  local host
  setup(function()
    host = Host.start { rules = { waiting = waiting },
      config = { timers = { overdue_grace = "300ms", overdue_hold_max = "3s" } } }
  end)
  teardown(function() host:remove() end)

  local function wait(user, after, word, more)
    local payload = { after = after, word = word }
    for name, value in pairs(more or {}) do payload[name] = value end
    local timestamp = payload.timestamp
    payload.timestamp = nil
    return { type = "wait", user = user, payload = payload, at = timestamp }
  end
  local function waits(...) host:accept(wait(...)) end
  local function silent(user, seconds)
    socket.sleep(seconds)
    assert.same({}, host:said(user, 0))
  end

  it("wakes its rule when it is due, with its data, and not before", function()
    local began = socket.gettime()
    waits("ada", "700ms", "hello")
    assert.same({ "hello" }, host:said "ada")
    local took = socket.gettime() - began
    assert.is_true(took >= 0.69, tostring(took))
  end)

  it("may be set for a moment of the clock", function()
    local at = Host.now() + 600
    host:accept { type = "wait", user = "clo", payload = { at = at, word = "at last" } }
    assert.same({ "at last" }, host:said "clo")
    assert.is_true(Host.now() >= at)
  end)

  it("wakes it once", function()
    waits("once", "50ms", "hello")
    host:said "once"
    socket.sleep(0.3)
    assert.same({ "hello" }, host:said "once")
  end)

  it("is replaced by one of the same name, not by one of another", function()
    host:accept(wait("rob", "300ms", "first"), wait("rob", "500ms", "second"),
      wait("rob", "400ms", "third", { name = "other" }))
    assert.same({ "other third", "second" }, host:said("rob", 2))
    socket.sleep(0.2)
    assert.same({ "other third", "second" }, host:said("rob", 2))
  end)

  it("is cancelled by its name", function()
    host:accept(wait("cas", "300ms", "never"), wait("cas", "300ms", "kept", { name = "other" }),
      { type = "stop", user = "cas" })
    assert.same({ "other kept" }, host:said "cas")
    socket.sleep(0.2)
    assert.same({ "other kept" }, host:said "cas")
  end)

  it("is cancelled by the event that it names, whether or not a rule wants that event", function()
    host:accept(wait("eva", "400ms", "never", { cancel_on = "order.completed" }),
      { type = "order.completed", user = "eva" },
      wait("fox", "400ms", "kept", { cancel_on = "order.completed" }), { type = "order.paid", user = "fox" })
    assert.same({ "kept" }, host:said "fox")
    assert.same({}, host:said("eva", 0))
  end)

  it("can set the next one", function()
    waits("ann", "50ms", 3, { name = "again" })
    assert.same({ "again 1", "again 2", "again 3" }, host:said("ann", 3))
  end)

  it("that fails goes to the dead letters, alone", function()
    waits("bad", "50ms", "way", { name = "failing" })
    waits("bad", "100ms", "good")
    assert.same({ "good" }, host:said "bad")
    local letter = host:dead(1)[1]
    assert.equal("waiting", letter.campaign)
    assert.truthy(letter.error:find("no way", 1, true))
  end)

  it("runs from the event's time: of a late event it may be due at once", function()
    waits("old", "1h", "overdue", { timestamp = Host.now() - 2 * HOUR })
    assert.same({ "overdue" }, host:said "old")
  end)

  it("that was due before it was set waits for quiet, so that the events that followed can still cancel it", function()
    local then_ = Host.now() - 48 * HOUR
    host:accept(wait("ord", "2h", "never", { timestamp = then_, cancel_on = "order.completed" }),
      { type = "order.completed", user = "ord", at = then_ + 1 * HOUR },
      wait("ord", "2h", "kept", { timestamp = then_ + 3 * HOUR }))
    assert.same({ "kept" }, host:said "ord")
    silent("ord-none", 0.1)
  end)

  it("goes before a later event of the same user, and after an earlier one", function()
    local then_ = Host.now() - 48 * HOUR
    -- Due at +2h; the order comes at +3h: the timer's time was before it, so it is not cancelled.
    waits("seq", "2h", "due", { timestamp = then_, cancel_on = "order.completed" })
    host:accept { type = "order.completed", user = "seq", at = then_ + 3 * HOUR }
    assert.same({ "due" }, host:said "seq")
    -- The order at the very moment goes first.
    host:accept(wait("tie", "2h", "never", { timestamp = then_, cancel_on = "order.completed" }),
      { type = "order.completed", user = "tie", at = then_ + 2 * HOUR })
    silent("tie", 0.8)
  end)

  it("set again for a moment at which it has fired is another: its message goes, too", function()
    local due = Host.now() + 300
    local function set(user, word, at)
      return { type = "wait", user = user, at = at, payload = { at = due, word = word } }
    end
    host:accept(set("rep", "first"))
    assert.same({ "first" }, host:said "rep")
    host:accept(set("rep", "second", due - 100))
    assert.same({ "first", "second" }, host:said("rep", 2))
    -- Also where one delivery sets and fires it several times.
    host:accept(set("bat", "first", due - 100), set("bat", "second", due + 1), set("bat", "third", due + 2))
    assert.same({ "first", "second", "third" }, host:said("bat", 3))
    local ids = {}
    for _, decision in ipairs(host:ask("why", "bat")) do
      assert.equal(("timer:waiting/wake@%.0f"):format(due), decision.cause)
      assert.is_nil(ids[decision.message_id], "two messages of one id")
      ids[decision.message_id] = true
    end
    local rows = host:ask("why", "bat", "--replay")
    assert.equal("send", rows[#rows].decision)
  end)

  it("survives a restart and a power cut", function()
    waits("sur", "4s", "alive")
    host:restart()
    waits("viv", "3s", "too")
    host:kill()
    host:run()
    assert.same({ "alive" }, host:said "sur")
    assert.same({ "too" }, host:said "viv")
    socket.sleep(0.2)
    assert.same({ "alive" }, host:said "sur")
  end)

  it("that came due while the host was down fires late, or is skipped, as it says", function()
    host:accept(wait("lat", "2s", "late but here"), wait("ski", "2s", "never", { late = "skip", late_after = "500ms" }),
      wait("tol", "2s", "in time", { late = "skip", late_after = "1h" }))
    host:kill()
    socket.sleep(2.9)
    host:run()
    assert.same({ "late but here" }, host:said "lat")
    assert.same({ "in time" }, host:said "tol")
    silent("ski", 0.2)
    local rows = host:ask("why", "ski", "--replay")
    assert.same({ false, "none" }, { rows[#rows].ran, rows[#rows].decision })
    assert.truthy(rows[#rows].reason:find "^%S+ late, and its late_after is 500ms$", rows[#rows].reason)
  end)

  it("of thousands at the same moment fires once each", function()
    local list = {}
    for index = 1, 3000 do
      list[index] = { type = "wait", user = "crowd-" .. index, payload = { after = "1s", word = "w" } }
    end
    host:accept(unpack(list))
    local before = #host:messages()
    host:await_messages(before + 3000, 20)
    local per_user = {}
    for _, message in ipairs(host:messages()) do
      if message.user_id:find "^crowd" then per_user[message.user_id] = (per_user[message.user_id] or 0) + 1 end
    end
    local users, double = 0, 0
    for _, count in pairs(per_user) do
      users = users + 1
      if count > 1 then double = double + 1 end
    end
    assert.equal(3000, users)
    assert.equal(0, double)
  end)

  for user, name in pairs { ivy = "in_place", ivo = "around" } do
    it("that sets itself at its own time (" .. name .. ") is stopped and named, for it would fire for ever", function()
      waits(user, "10ms", "x", { name = name })
      local letter
      process.eventually(5 * Host.patience, function()
        for _, dead in ipairs(host:dead()) do letter = dead.user == user and dead or letter end
        return letter
      end)
      assert.truthy(letter and letter.error:find("would fire for ever", 1, true), letter and letter.error)
      waits(user, "10ms", "later")
      assert.same({ "later" }, host:said(user, 1))
    end)
  end
end)

describe("chains of timers that came due while the host was down", function()
  local host
  teardown(function() host:remove() end)

  it("are caught up on in many turns of a worker, so that events and answers are taken between them", function()
    local users = 60
    host = Host.start { rules = { catching_up = catching_up },
      config = { workers = 1, timers = { overdue_grace = "300ms", overdue_hold_max = "3s" } } }
    local list = {}
    for index = 1, users do list[index] = { type = "begin", user = "user-" .. index } end
    host:accept(unpack(list))
    host:kill()
    socket.sleep(2.2)
    host:run()
    local letters = host:dead(9 * users)
    assert.equal(9 * users, #letters)
    -- All fires of a turn have the clock of its beginning, and each user has one that tells it in eleven.
    local at, most = {}, 0
    for _, letter in ipairs(letters) do
      at[letter.at] = (at[letter.at] or 0) + 1
      most = math.max(most, at[letter.at])
    end
    assert.is_true(most < 9 * users / 2, most .. " at once")
    assert.equal(99 * users, host:metric "kairos_timers_fired_total")
  end)
end)
