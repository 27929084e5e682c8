-- The stream of what is decided: filtered where it is decided, bounded for who reads slowly, of no weight to who sends events.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"
local cjson = require "cjson"

local RULES = {
  greet = [[
    local kairos = require "kairos"
    return kairos.rule { name = "greet", on = { "hello", "again" }, act = function(event, user)
      user:send { channel = "push", template = "said", data = { text = "hello" }, once_per = "1h" }
    end }
  ]],
  broken = [[
    local kairos = require "kairos"
    return kairos.rule { name = "broken", on = "trouble", act = function(event) error("no luck for " .. event.payload.email) end }
  ]],
}

-- On `parent` a journey begins, and an event follows: its own decision comes first.
RULES.begins = [[
  local kairos = require "kairos"
  return kairos.journey { name = "begins", start = { on = "parent" }, run = function(journey) journey:wait "1h" end }
]]
RULES.leads = [[
  local kairos = require "kairos"
  return kairos.rule { name = "leads", on = "parent", act = function(_, user) user:emit { type = "child", payload = {} } end }
]]

describe("kairos tail", function()
  local host
  setup(function() host = Host.start { rules = RULES } end)
  teardown(function() host:remove() end)

  --- A tail that is attached on every worker: an event that it must show has been shown.
  local function tail(options)
    options = options or {}
    options.command = "tail"
    local stream, answer = look.connect(host, options)
    assert(answer.ok, answer.error)
    local asking = look.connect(host)
    for index = 1, 12 do -- what a worker answers now, it answers after it has attached the tail
      asking:send { command = "user", user = "somebody-" .. index }
      assert(asking:receive().ok)
    end
    asking:close()
    return stream
  end

  --- Lines up to the first for which `last` says so.
  local function lines_until(stream, last)
    local lines = {}
    repeat
      local line = assert(stream:receive())
      lines[#lines + 1] = line
    until last(line)
    return lines
  end

  it("shows events, what they led to, and what became of it", function()
    local stream = tail { unmask = true }
    host:accept({ type = "hello", user = "ann", payload = { shop = "K1" } })
    local lines = lines_until(stream, function(line) return line.what == "outcome" end)
    assert.equal("event", lines[1].what)
    assert.equal("hello", lines[1].type)
    assert.equal("ann", lines[1].user)
    assert.equal("K1", lines[1].payload.shop)
    assert.equal("send", lines[2].what)
    assert.equal("greet", lines[2].campaign)
    assert.equal(lines[2].message_id, lines[#lines].message_id)
    assert.equal("accepted", lines[#lines].outcome)
    host:accept { type = "again", user = "ann" }
    lines = lines_until(stream, function(line) return line.what == "skip" end)
    assert.equal("once_per", lines[#lines].reason)
    host:accept { type = "message.unsubscribed", user = "ann" }
    lines = lines_until(stream, function(line) return line.what == "suppressed" end)
    assert.equal("unsubscribed", lines[#lines].reason)
    stream:close()
  end)

  it("masks personal data unless asked, and never shows what a rule's author wrote into an error", function()
    local stream = tail()
    host:accept { type = "trouble", user = "cleo", payload = { email = "cleo@mail.example", sku = "K1" } }
    local lines = lines_until(stream, function(line) return line.what == "failed" end)
    local text = cjson.encode(lines)
    assert.falsy(text:find "cleo")
    assert.equal("K1", lines[1].payload.sku)
    assert.truthy(lines[1].user:find "^~%x+$")
    assert.truthy(lines[#lines].error:find "rule.lua:2")
    stream:close()
  end)

  it("filters by type, user, campaign, reason, kind and share", function()
    local all = tail { unmask = true }
    local streams = {
      type = tail { type = "again", unmask = true },
      user = tail { user = "dan", unmask = true },
      campaign = tail { campaign = "broken", unmask = true },
      reason = tail { reason = "once_per", unmask = true },
      events = tail { decisions = false, unmask = true },
      decisions = tail { events = false, unmask = true },
      sample = tail { sample = 5000, decisions = false, unmask = true },
    }
    for index = 1, 40 do host:accept({ type = "seen", user = "s" .. index }) end
    host:accept({ type = "hello", user = "dan" })
    host:accept({ type = "again", user = "dan" })
    host:accept({ type = "again", user = "eva" })
    host:accept({ type = "trouble", user = "fay", payload = { email = "x" } })
    host:accept({ type = "end", user = "dan" }, { type = "again", user = "end" }, { type = "hello", user = "end2" },
      { type = "again", user = "end2" }, { type = "trouble", user = "end", payload = { email = "x" } })
    local function count(stream, matches, last)
      local found, lines = 0, lines_until(stream, last)
      for _, line in ipairs(lines) do
        assert.truthy(matches(line), cjson.encode(line))
        found = found + 1
      end
      return found
    end
    count(streams.type, function(line) return line.type == "again" or (line.campaign == "greet" and line.what ~= "event") end,
      function(line) return line.user == "end" end)
    count(streams.user, function(line) return line.user == "dan" end, function(line) return line.type == "end" end)
    count(streams.campaign, function(line) return line.campaign == "broken" end, function(line) return line.user == "end" end)
    count(streams.reason, function(line) return line.reason == "once_per" end, function(line) return line.user == "end2" end)
    count(streams.events, function(line) return line.what == "event" end, function(line) return line.type == "end" end)
    count(streams.decisions, function(line) return line.what ~= "event" end, function(line) return line.user == "end" end)
    local seen = 0
    local sampled = {}
    all.socket:settimeout(0.2)
    streams.sample.socket:settimeout(0.2)
    repeat
      local line = all:receive()
      if line and line.type == "seen" then seen = seen + 1 end
    until not line
    repeat
      local line = streams.sample:receive()
      if line and line.type == "seen" then sampled[#sampled + 1] = line.user end
    until not line
    assert.equal(40, seen)
    assert.truthy(#sampled > 5 and #sampled < 35, #sampled)
    all:close()
    for _, stream in pairs(streams) do stream:close() end
  end)

  it("drops lines for a reader that does not read, counts them, says so when it reads again, and delays nobody", function()
    local slow, quick = tail { decisions = false }, tail { type = "small" }
    local filler = ("x"):rep(4000)
    for _ = 1, 30 do
      local events = {}
      for index = 1, 50 do events[index] = Host.event { type = "large", user = "u" .. index, payload = { filler = filler } } end
      assert.equal(50, host:post(events).json.accepted)
    end
    host:accept { type = "small", user = "ann" }
    assert.equal("small", quick:receive().type)
    local shown, lost = 0, 0
    slow.socket:settimeout(2 * host.patience)
    repeat
      local line = slow:receive()
      if line and line.lost then lost = lost + line.lost end
      if line and line.type then shown = shown + 1 end
    until not line
    assert.equal(1501, shown + lost) -- nothing was lost uncounted
    assert.truthy(shown > 0 and lost > 0)
    -- What comes now is shown again.
    host:accept { type = "small", user = "ann" }
    assert.equal("small", slow:receive().type)
    slow:close()
    quick:close()
  end)

  it("ends with its reader, however many there were", function()
    for _ = 1, 40 do tail():close() end
    for _ = 1, 300 do look.connect(host, { command = "tail" }):close() end -- gone before a worker has heard of it
    local stream = tail { user = "gus" }
    host:accept { type = "hello", user = "gus" }
    assert.equal("hello", stream:receive().type)
    stream:close()
    local request = { command = "tail", sample = 0 }
    local _, answer = look.connect(host, request)
    assert.falsy(answer.ok)
    _, answer = look.connect(host, { command = "tail", events = false, decisions = false })
    assert.truthy(answer.error:find "nothing")
  end)

  it("names the campaign that is meant by one that there is not", function()
    local stream, answer = look.connect(host, { command = "tail", campaign = "great" })
    assert.equal("there is no campaign `great`; did you mean `greet`?", answer.result.warning)
    stream:close()
    stream, answer = look.connect(host, { command = "tail", campaign = "greet" })
    stream:close()
    assert.is_nil(answer.result.warning)
    local output = host.directory .. "/warned.out"
    local watching = process.start { command = { Host.binary, "tail", "--config", host.config_file, "--campaign", "else" },
      output = output }
    assert.truthy(process.eventually(20 * host.patience, function()
      return files.read(output) == "kairos: there is no campaign `else`; `kairos campaigns` lists them; what one of this name does "
        .. "is shown once there is one\n"
    end), files.read(output))
    watching:kill()
    tail({ campaign = "kairos" }):close() -- the host's own steps
  end)

  it("knows the event that caused a decision when others have followed from it", function()
    local stream, other = tail { type = "parent", unmask = true }, tail { type = "child", unmask = true }
    host:accept({ type = "parent", user = "ida" }, { type = "child", user = "end" })
    local lines = lines_until(stream, function(line) return line.what == "journey" end)
    assert.equal("parent", lines[1].type)
    assert.equal("began", lines[#lines].reason)
    lines = lines_until(other, function(line) return line.user == "end" end)
    for _, line in ipairs(lines) do assert.equal("child", line.type) end
    stream:close()
    other:close()
  end)

  it("is reached by the command line", function()
    local output = host.directory .. "/tail.out"
    local watching = process.start {
      command = { Host.binary, "tail", "--config", host.config_file, "--user", "hal", "--decisions", "--json" },
      output = output,
    }
    assert.truthy(process.eventually(20 * host.patience, function()
      host:accept { type = "again", user = "hal" }
      return files.read(output):find('"what":"skip"', 1, true)
    end))
    watching:kill()
    for line in files.read(output):gmatch "[^\n]+" do assert.truthy(cjson.decode(line).what ~= "event") end
    assert.equal(2, host:command("tail", "--sample", "much").status)
    assert.equal(2, host:command("tail", "--events", "--decisions").status)
  end)
end)
