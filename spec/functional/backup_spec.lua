-- kairos backup DIR: a copy that a host can be started on, made while this one runs.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local counting = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
return kairos.rule {
  name = "counting",
  on = { "test.happened", "wait" },
  act = function(event, user)
    if event.type == "wait" then return user:after("3s", { name = "wake", data = {} }) end
    user:send { channel = "push", template = "said", data = { text = event.id .. " " .. user:count(seen) } }
  end,
  timers = {
    wake = function(_, user) user:send { channel = "push", template = "said", data = { text = "woken" } } end,
  },
}
]]

describe("a backup", function()
  local host, target
  before_each(function()
    target = files.temporary() .. "/copy"
    host = Host.start { rules = { counting = counting },
      config = { log = { segment_age = "1s" }, state = { checkpoint_every = "500ms" } } }
  end)
  after_each(function()
    host:remove()
    files.remove((target:gsub("/copy$", "")))
  end)

  it("made under load is a whole host: state, duplicates, timers and messages that wait", function()
    host:command "pause"
    for index = 1, 50 do host:accept { id = "e" .. index, user = "ada" } end
    host:accept { type = "wait", user = "tim" }
    -- A client posts on while the backup is made.
    local busy = process.start { command = { "sh", "-c", ([[
      i=0; while :; do i=$((i+1)); curl -s -o /dev/null -H 'Content-Type: application/json' -d \
      "{\"event_id\":\"b$i\",\"event_type\":\"test.happened\",\"user_id\":\"bob\",\"timestamp\":%d,\"payload\":{}}" \
      http://127.0.0.1:%d/v1/events; done]]):format(Host.now(), host.port) } }
    local result = host:command("backup", target)
    busy:kill()
    assert.equal(0, result.status, result.err)
    assert.equal(202, host:post(Host.event { user = "ada" }).status, "the host goes on")
    host:kill()

    local copy = Host.start { rules = { counting = counting }, data = target }
    finally(function() copy:remove() end)
    copy:command "resume" -- it is paused as the host was
    assert.equal(1, copy:post(Host.event { id = "e1", user = "ada" }).json.duplicates)
    copy:accept { id = "after", user = "ada" }
    local texts = copy:said("ada", 51)
    assert.equal(51, #texts)
    local found = {}
    for _, text in ipairs(texts) do found[text] = true end
    assert.is_true(found["after 51"])
    assert.is_true(found["e1 1"])
    assert.same({ "woken" }, copy:said "tim")
  end)

  it("goes to a new directory only", function()
    files.make(target)
    files.write(target .. "/something", "mine")
    local result = host:command("backup", target)
    assert.not_equal(0, result.status)
    assert.equal("mine", files.read(target .. "/something"))
  end)
end)

describe("a backup that takes long", function()
  local host, target, making
  --- It copies a megabyte of the log every two seconds.
  local function start(failpoints)
    target = files.temporary() .. "/copy"
    host = Host.start { rules = { counting = counting }, config = { log = { segment_size = "64MB" } },
      env = { KAIROS_FAILPOINTS = "store.backup_piece=sleep:2000@1*0" .. (failpoints or "") } }
    local large = ("x"):rep(100000)
    for post = 1, 30 do
      local list = {}
      for index = 1, 10 do list[index] = { id = post .. "." .. index, type = "other", user = "ada", payload = { text = large } } end
      host:accept(unpack(list))
    end
    making = process.start { command = { Host.binary, "backup", "--config", host.config_file, target },
      output = host.directory .. "/backup.out" }
    assert.is_true(process.eventually(10 * Host.patience, function()
      return files.read(host.log):find("failpoint=store.backup_piece", 1, true) ~= nil
    end))
  end
  after_each(function()
    host:remove()
    files.remove((target:gsub("/copy$", "")))
  end)

  it("gives way to recovery, which nobody can wait for", function()
    start ",log.fsync=error@60"
    local function answer() return host:post(Host.event { type = "other", user = "bob" }).status end
    local failed
    for _ = 1, 100 do failed = failed or answer() == 503 end
    assert.is_true(failed)
    assert.is_true(process.eventually(15 * Host.patience, function() return answer() == 202 end))
    assert.equal(1, making:wait(10 * Host.patience))
    assert.truthy(files.read(host.directory .. "/backup.out"):find("try again", 1, true))
  end)

  it("gives way to the end, when that is due", function()
    start()
    assert.equal(0, host:stop(45)) -- 30 seconds after it was asked
    assert.equal(1, making:wait(10 * Host.patience))
  end)
end)
