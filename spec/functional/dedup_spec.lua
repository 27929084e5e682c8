-- An event takes effect once, by (user, event_id), for the configured time.
local Host = require "spec.functional.support.host"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local socket = require "socket"

-- Says how many events of the user it has counted; a second effect of one event would show.
local counting = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
return kairos.rule {
  name = "counting",
  on = "test.happened",
  act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = event.payload.step .. ":" .. user:count(seen) } }
  end,
}
]]

describe("an event that is sent again", function()
  local host
  local function post(id, step, who)
    local event = Host.event { id = id, user = who or "ada", payload = { step = step } }
    local answer = host:post(event)
    assert.equal(202, answer.status)
    return answer.json.accepted == 1 and "accepted" or answer.json.duplicates == 1 and "duplicate"
  end

  before_each(function() host = Host.new { rules = { counting = counting } } end)
  after_each(function() host:remove() end)

  it("is a duplicate, and has no effect", function()
    host:run()
    assert.equal("accepted", post("one", "a"))
    assert.equal("duplicate", post("one", "b"))
    assert.equal("accepted", post("two", "c"))
    assert.same({ "a:1", "c:2" }, host:said("ada", 2))
  end)

  it("is a duplicate within one request too", function()
    host:run()
    local first = Host.event { id = "same", user = "ada", payload = { step = "a" } }
    local second = Host.event { id = "same", user = "ada", payload = { step = "b" } }
    local answer = host:post { first, second, first }
    assert.same({ accepted = 1, duplicates = 2, rejected = {} }, answer.json)
    assert.same({ "a:1" }, host:said "ada")
  end)

  it("is new for another user, and for a thing of the same name", function()
    host:run()
    assert.equal("accepted", post("one", "a", "ada"))
    assert.equal("accepted", post("one", "b", "bob"))
    local answer = host:post(Host.event { id = "one", subject = "ada", payload = { step = "c" } })
    assert.equal(1, answer.json.accepted)
    assert.equal("duplicate", post("one", "d", "bob"))
  end)

  it("is a duplicate after a restart", function()
    host:run()
    post("one", "a")
    host:restart()
    assert.equal("duplicate", post("one", "b"))
    assert.equal("accepted", post("two", "c"))
    assert.same({ "a:1", "c:2" }, host:said("ada", 2))
  end)

  it("is a duplicate after a power cut", function()
    host:run()
    post("one", "a")
    host:kill()
    host:run()
    assert.equal("duplicate", post("one", "b"))
    assert.equal("accepted", post("two", "c"))
    assert.same({ "a:1", "c:2" }, host:said("ada", 2))
  end)

  it("is new again when the configured time has passed since it was accepted", function()
    host:remove()
    host = Host.start { rules = { counting = counting }, config = { dedup = { keep = "2s" } } }
    assert.equal("accepted", post("one", "a"))
    assert.equal("duplicate", post("one", "b"))
    socket.sleep(2.2)
    assert.equal("accepted", post("one", "c"))
  end)

  it("is new again then, though its segment has been sealed", function()
    host:remove()
    host = Host.start { rules = { counting = counting },
      config = { dedup = { keep = "5s" }, log = { segment_age = "1s" }, state = { checkpoint_every = "200ms" } } }
    assert.equal("accepted", post("one", "a"))
    local accepted = socket.gettime()
    local filler = 0
    process.eventually(8 * Host.patience, function()
      filler = filler + 1
      post("filler-" .. filler, "f", "filler")
      return host:ask("status").sealed_segment >= 1
    end)
    if socket.gettime() < accepted + 4.5 then assert.equal("duplicate", post("one", "b")) end
    socket.sleep(math.max(0, accepted + 5.2 - socket.gettime()))
    assert.equal("accepted", post("one", "c"))
  end)

  it("counts its time from acceptance, not from its timestamp", function()
    host:remove()
    host = Host.start { rules = { counting = counting }, config = { dedup = { keep = "1h" } } }
    local old = Host.event { id = "old", user = "ada", at = Host.now() - 2 * 86400000, payload = { step = "a" } }
    assert.equal(1, host:post(old).json.accepted)
    assert.equal(1, host:post(old).json.duplicates)
  end)

  --- A host whose first segment, with the mark of ada's event "one", is sealed and gone.
  local function start_sealed(seconds)
    host:remove()
    host = Host.start { rules = { counting = counting },
      config = { log = { segment_age = "1s" }, state = { checkpoint_every = "200ms", write_behind = "50ms" } } }
    post("one", "a")
    -- New records keep segments turning until the one with our event is sealed and gone.
    local filler = 0
    process.eventually(seconds * Host.patience, function()
      filler = filler + 1
      post("filler-" .. filler, "f", "filler")
      return host:ask("status").sealed_segment >= 1
    end)
    assert.is_true(host:ask("status").sealed_segment >= 1, "no segment was sealed")
  end

  it("is a duplicate when its segment has been sealed, and after a restart from there", function()
    start_sealed(8)
    assert.equal("duplicate", post("one", "b"))
    host:restart()
    assert.equal("duplicate", post("one", "c"))
    assert.equal("accepted", post("two", "d"))
    assert.same({ "a:1", "d:2" }, host:said("ada", 2))
  end)

  it("is answered \"retry\" where its mark cannot be read, and everybody else's events go on", function()
    start_sealed(20)
    host:stop()
    local pipe = io.popen(("ls '%s'/db/marks/*.marks"):format(host.data))
    local path = pipe:lines()()
    pipe:close()
    local file = assert(io.open(path, "r+b")) -- the file's first page of marks
    file:seek("set", 4096 + 100)
    file:write "spoiled"
    file:close()
    host:run()
    for _ = 1, 2 do
      local event = Host.event { id = "one", user = "ada", payload = { step = "b" } }
      local answer = host:post { event, Host.event { user = "bob", payload = { step = "c" } } }
      assert.equal(1, answer.json.accepted)
      assert.equal(0, answer.json.duplicates)
      assert.equal(1, #answer.json.rejected)
      assert.is_true(answer.json.rejected[1].retry)
    end
    assert.equal(0, host:metric "kairos_recoveries")
    assert.truthy(process.eventually(20 * Host.patience, function() return host:metric "kairos_dedup_spoiled" >= 2 end))
    assert.truthy(host:output():find("dedup marks cannot be read: events that may be among them", 1, true))
    -- The operator's way out: without the file its events are new.
    host:stop()
    os.remove(path)
    host:run()
    assert.equal("accepted", post("one", "d"))
  end)

  it("is answered only when its original is durable", function()
    host:remove()
    host = Host.start { rules = { counting = counting }, config = { workers = 1 },
      env = { KAIROS_FAILPOINTS = "log.fsync=sleep:700@3*0" } }
    local request = http.request_bytes { body = Host.json(Host.event { id = "one", user = "ada", payload = { step = "a" } }) }
    -- An fsync before, so that the slow ones are ours.
    local warm = host:connect()
    for index = 1, 3 do
      warm:request { body = Host.json(Host.event { id = "warm" .. index, user = "bob", payload = { step = "w" } }) }
    end
    local original, again = host:connect(), host:connect()
    local began = socket.gettime()
    original:send(request)
    socket.sleep(0.05)
    again:send(request)
    assert.equal(1, again:answer().json.duplicates)
    assert.is_true(socket.gettime() - began > 0.5)
    assert.equal(1, original:answer().json.accepted)
  end)
end)
