-- What a journey sent and the gate deferred does not go once the journey has ended early: live, and whenever the host is killed.
local Host = require "spec.functional.support.host"
local process = require "spec.functional.support.process"

local way = [[
local kairos = require "kairos"
return kairos.journey {
  name = "way", start = { on = "go" }, key = "payload.id", again = "restart", exit = { on = "order.completed" },
  run = function(journey, user, event)
    for i = 1, event.payload.messages or 1 do
      journey:send { channel = "push", template = "said", to = "p", purpose = "offers", data = { text = event.payload.id .. i } }
    end
    if event.payload.waits ~= false then journey:wait "1h" end
  end,
}
]]

--- Quiet hours in UTC that hold now and for the next two hours at least.
local function night()
  local now = os.time()
  return os.date("!%H:00", now - 3600) .. "-" .. os.date("!%H:00", now + 3 * 3600)
end

describe("a journey that ended early", function()
  local host
  after_each(function() if host then host:remove() end end)

  local function go(user, id, more)
    local payload = { id = id }
    for name, value in pairs(more or {}) do payload[name] = value end
    host:accept { type = "go", user = user, payload = payload }
  end
  --- How the user's messages ended: "cancelled: why", "accepted", …, "" while they wait.
  local function ends(user)
    local found = {}
    for _, decision in ipairs(host:ask("why", user)) do
      if decision.template then
        local last = decision.outcomes and decision.outcomes[#decision.outcomes]
        found[#found + 1] = last and last.outcome .. (last.outcome == "cancelled" and ": " .. last.detail or "") or ""
      end
    end
    return found
  end
  local function await(wanted, user)
    process.eventually(10 * Host.patience, function() return table.concat(ends(user), "|") == table.concat(wanted, "|") end)
    assert.same(wanted, ends(user))
  end
  local function deferred()
    return host:ask("status").deferred.waiting
  end
  local exited = "cancelled: the journey ended before it could go: exit on order.completed"

  it("sends nothing in the morning, and says why", function()
    host = Host.start { rules = { way = way }, config = {
      time_zone = "UTC", purposes = { { name = "offers", quiet_hours = night(), caps = { "1/7d" } } } } }
    go("ada", "a")
    go("bob", "b")
    go("cid", "c")
    go("dan", "d", { waits = false })
    assert.equal(4, deferred())
    host:restart() -- they lie in the store alone
    assert.equal(4, deferred())
    host:accept({ type = "order.completed", user = "ada" }, { type = "order.completed", user = "dan" })
    await({ exited }, "ada")
    assert.equal(0, host:command("journeys", "end", "way", "b", "--user", "bob", "--reason", "called us").status)
    await({ "cancelled: the journey ended before it could go: by an operator, called us" }, "bob")
    assert.same({ "" }, ends "cid")
    assert.same({ "" }, ends "dan")
    assert.equal(2, deferred())
    assert.falsy((host:ask("user", "ada").counted or {}).offers, "its place under the cap is free")
    local text = host:command("why", "ada").out
    assert.truthy(text:find("the journey ended before it could go: exit on order.completed", 1, true), text)
    assert.equal(0, host:command("why", "ada", "--replay").status)
    host:kill()
    host:run()
    assert.equal(2, deferred())
    assert.same({}, host:messages())
  end)

  it("leaves its place to the one begun anew, once, also where the host is killed in between", function()
    host = Host.start { rules = { way = way }, config = {
      time_zone = "UTC", purposes = { { name = "offers", quiet_hours = night(), caps = { "1/7d" } } } } }
    local anew = "cancelled: the journey ended before it could go: begun anew by "
    go("ada", "a")
    host:restart()
    go("ada", "a")
    process.eventually(10 * Host.patience, function() return ends("ada")[1] ~= "" end)
    assert.equal(anew, ends("ada")[1]:sub(1, #anew))
    assert.equal("", ends("ada")[2])
    host:kill()
    host:run()
    assert.equal(1, deferred())
    assert.equal(1, #host:ask("user", "ada").counted.offers)
    go("ada", "a")
    process.eventually(10 * Host.patience, function() return ends("ada")[2] ~= "" end)
    assert.equal(anew, ends("ada")[2]:sub(1, #anew))
    assert.equal("", ends("ada")[3])
    assert.equal(1, deferred())
    assert.equal(1, #host:ask("user", "ada").counted.offers)
    assert.equal(0, host:command("why", "ada", "--replay").status)
    assert.same({}, host:messages())
  end)

  -- The exit comes before the second message's moment: two starts of the host are in between.
  it("sends nothing, whenever the host is killed after its end", function()
    local config = { purposes = { { name = "offers", caps = { ("1/%ds"):format(3 + Host.patience) }, on_cap = "defer" } } }
    local killed = 0
    for _, point in ipairs { "log.durable=kill@%d", "log.fsync=kill@%d", "log.write=kill@%d" } do
      for hit = 1, 3 do
        host = Host.start { rules = { way = way }, config = config }
        go("ada", "a", { messages = 2 })
        assert.same({ "a1" }, host:said("ada", 1))
        await({ "accepted", "" }, "ada")
        host:kill()
        host:launch { KAIROS_FAILPOINTS = point:format(hit) }
        host:ready() -- or dead, by what it logs itself
        local ok, answer = pcall(host.post, host, { Host.event { type = "order.completed", user = "ada" } })
        local ended = ok and answer and answer.status == 202
        -- Its end may take a moment; with some of these points it has none.
        local died = process.eventually(Host.patience, function() return not host.process:alive() end)
        killed = killed + (died and 1 or 0)
        host:kill()
        host:run { KAIROS_FAILPOINTS = "" }
        if #host:ask("user", "ada").journeys == 0 then
          process.eventually(10 * Host.patience, function() return ends("ada")[2] ~= "" end)
          assert.truthy(ends("ada")[2]:find "^cancelled: the journey ended before it could go", point:format(hit))
          assert.same({ "a1" }, host:said("ada", 1))
        else
          assert.falsy(ended, "an exit that was acknowledged is gone")
          assert.same({ "a1", "a2" }, host:said("ada", 2))
        end
        host:remove()
        host = nil
      end
    end
    assert.truthy(killed >= 4, killed)
  end)
end)
