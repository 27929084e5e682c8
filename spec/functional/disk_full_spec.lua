-- A full disk, a failing fsync: nothing is acknowledged that is not durable, and all goes on when there is room.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local counting = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
return kairos.rule {
  name = "counting",
  on = "test.happened",
  act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = event.id .. " " .. user:count(seen) } }
  end,
}
]]

--- Posts one event after the other, each until it is acknowledged. @return how many answers were 503
local function post_all(host, count)
  local unavailable = 0
  for index = 1, count do
    local event = Host.event { id = "e" .. index, user = "ada" }
    local done = process.eventually(20 * Host.patience, function()
      local ok, answer = pcall(host.post, host, event)
      if not ok or not answer then return false end
      if answer.status == 503 then
        unavailable = unavailable + 1
        assert.truthy(answer.headers["retry-after"])
      else
        assert.equal(202, answer.status)
      end
      return answer.status == 202
    end)
    assert.truthy(done, "event " .. index .. " was never acknowledged")
  end
  return unavailable
end

local function assert_once_each(host, count)
  local texts = host:said("ada", count, 20)
  assert.equal(count, #texts)
  local counts = {}
  for _, text in ipairs(texts) do
    local number = tonumber(text:match " (%d+)$")
    assert.is_nil(counts[number])
    counts[number] = true
  end
  for index = 1, count do assert.is_true(counts[index], "no count " .. index) end
end

describe("a host", function()
  local host
  after_each(function() host:remove() end)

  --- Its second segment cannot be begun, with one event in the first and nobody there.
  local function start_idle(failpoints)
    host = Host.start { rules = { counting = counting }, config = { log = { segment_age = "1s" } },
      env = { KAIROS_FAILPOINTS = failpoints } }
    host:accept { id = "one", user = "ada" }
    assert.truthy(process.eventually(20 * Host.patience, function()
      return host:metric "kairos_log_failures_total" >= 1
    end))
  end

  it("whose log cannot turn while nothing comes goes on in the old segment, and loses nothing of it", function()
    start_idle "log.segment=enospc@2"
    host:accept { id = "two", user = "ada" }
    assert.equal(0, host:metric "kairos_recoveries")
    host:kill()
    host:run { KAIROS_FAILPOINTS = "" }
    host:accept { id = "three", user = "ada" }
    assert.same({ "one 1", "three 3", "two 2" }, host:said("ada", 3))
  end)

  it("whose log has left half a segment, which it cannot remove, recovers", function()
    start_idle "log.segment=enospc@2,log.unmake=error"
    assert.truthy(process.eventually(20 * Host.patience, function()
      return pcall(host.accept, host, { id = "two", user = "ada" })
    end))
    assert.equal(1, host:metric "kairos_recoveries")
    host:kill()
    host:run { KAIROS_FAILPOINTS = "" }
    host:accept { id = "three", user = "ada" }
    assert.same({ "one 1", "three 3", "two 2" }, host:said("ada", 3))
  end)

  for what, failpoints in pairs {
    ["whose disk is full for a while"] = "log.write=enospc@5*3",
    ["whose fsync fails once"] = "log.fsync=error@5",
    ["whose fsync fails again and again"] = "log.fsync=error@5*3",
    ["whose writes fail"] = "log.write=error@4*2",
  } do
    it(what .. " stops acknowledging, answers 503, says so, and goes on", function()
      host = Host.start { rules = { counting = counting }, env = { KAIROS_FAILPOINTS = failpoints } }
      assert.is_true(post_all(host, 30) > 0, "nothing was answered 503")
      assert_once_each(host, 30)
      assert.truthy(host:output():find "level=error")
      assert.is_true(host:get("/readyz").status == 200)
      -- And what it then has is what a start finds.
      host:kill()
      host:run { KAIROS_FAILPOINTS = "" }
      host:accept { id = "last", user = "ada" }
      assert_once_each(host, 31)
    end)
  end

  it("shows in readyz, healthz and metrics that it cannot write", function()
    host = Host.start { rules = { counting = counting }, env = { KAIROS_FAILPOINTS = "log.write=enospc@3*0" } }
    local event = Host.event { user = "ada" }
    local status
    for _ = 1, 6 do
      local answer = host:post(event)
      status = answer and answer.status
      event = Host.event { user = "ada" }
    end
    assert.equal(503, status)
    assert.equal(503, host:get("/readyz").status)
    assert.equal(200, host:get("/healthz").status)
    local failing = false
    for line in host:get("/metrics").body:gmatch "[^\n]+" do
      if line:find "^kairos_" and line:find "fail" and tonumber(line:match "(%S+)$") > 0 then failing = true end
    end
    assert.is_true(failing, "no metric says that it fails")
  end)

  it("on a disk that really fills up answers 503 and goes on when there is room", function()
    local mount = files.temporary()
    host = Host.new { rules = { counting = counting }, data = mount .. "/data" }
    local mounted = process.run { command = { "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount } }
    if mounted.status ~= 0 then
      files.remove(mount)
      pending "mounting a small file system needs root"
      return
    end
    finally(function()
      host.process:kill()
      process.run { command = { "umount", mount } }
      files.remove(mount)
    end)
    host:run()
    post_all(host, 10)
    process.run { command = { "sh", "-c", "cat /dev/zero > " .. mount .. "/filler" } }
    local saw_503
    local big = {}
    for index = 1, 200 do
      big[index] = Host.event { id = "big" .. index, user = "bob", type = "other", payload = { text = ("x"):rep(5000) } }
    end
    process.eventually(20, function()
      local ok, answer = pcall(host.post, host, big)
      saw_503 = ok and answer and answer.status == 503
      for index = 1, 200 do big[index].event_id = big[index].event_id .. "+" end
      return saw_503
    end)
    assert.is_true(saw_503, "the full disk was not noticed")
    os.remove(mount .. "/filler")
    assert.truthy(process.eventually(30 * Host.patience, function()
      local ok, answer = pcall(host.post, host, Host.event { id = "e11", user = "ada" })
      return ok and answer and answer.status == 202
    end), "it did not go on when there was room")
    assert_once_each(host, 11)
  end)
end)
