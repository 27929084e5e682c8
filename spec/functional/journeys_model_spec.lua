-- Random journeys against a slow, obvious model that runs them from beginning to end in memory: the same messages at the same
-- moments, though the host runs the function anew at each step, from stored bytes, and in a fresh engine after each reload.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local binary = process.shell("realpath " .. Host.binary):gsub("\n", "")

--- It does what its event says, step by step.
local rule = [[
local kairos = require "kairos"
local seen = kairos.window { of = "seen", over = "300d" }
return kairos.journey {
  name = "model", start = { on = "go" }, exit = { on = "stop" },
  run = function(journey, user, event)
    local function say(text)
      journey:send { channel = "push", to = "p", template = "said", data = { text = tostring(text) } }
    end
    local dice = {}
    local steps = event.payload.steps
    for i = journey.state or 1, #steps do
      local step = steps[i]
      dice[i] = math.random()
      if step.op == "wait" then journey:wait(step.minutes .. "m")
      elseif step.op == "until" then journey:wait_until(kairos.now() + step.minutes * 60000)
      elseif step.op == "for" then
        local got = journey:wait_for { on = step.on, within = step.minutes .. "m",
          where = step.over and function(e) return e.payload.n > step.over end or nil }
        say(got and got.type .. got.payload.n or "none")
      elseif step.op == "count" then
        local n = user:count(seen)
        if n % 2 == 1 then say("odd " .. n) else say(n) end
      elseif step.op == "set" then journey:set("v", step.n)
      elseif step.op == "get" then say(user.v)
      elseif step.op == "split" then
        say(journey:split { name = "s", a = 50, b = 50 } == journey:split { name = "s", a = 50, b = 50 })
      elseif step.op == "once" then say(user:once("mark", "300d"))
      elseif step.op == "continue" then journey:continue(i + 1)
      else say(step.op) end
    end
  end,
}
]]

local spec = [[
local sim = require "kairos.spec"
local MINUTE = 60000
local seed = SEED
local function random(low, high)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return low + math.floor(seed / 65536) % (high - low + 1)
end
local function pick(list) return list[random(1, #list)] end

local function make_steps()
  local steps = {}
  for i = 1, random(1, 14) do
    local op = pick { "wait", "until", "for", "for", "count", "set", "get", "split", "once", "continue", "hello", "count" }
    steps[i] = { op = op, minutes = random(1, 600) }
    if op == "for" then
      steps[i].on = pick { { "a" }, { "b" }, { "a", "b" } }
      steps[i].over = random(1, 2) == 1 and random(1, 9) or nil
    end
    if op == "set" then steps[i].n = random(1, 99) end
  end
  return steps
end

--- Events of one user, by time; no two in the same ms of a minute, so that nothing falls together with the end of a wait.
local function make_events()
  local events, at = {}, 0
  for i = 1, random(0, 25) do
    at = at + random(1, 300) * MINUTE
    local type = pick { "a", "a", "b", "seen", "seen", "identify", random(1, 6) == 1 and "stop" or "a" }
    local payload = type == "identify" and { v = random(100, 199) } or { n = random(1, 10) }
    events[i] = { at = at - at % MINUTE + 100 * i, type = type, payload = payload }
  end
  return events
end

--- The function from beginning to end, in memory.
local function model(steps, events)
  local now, said, v_set, marked, stop = 0, {}, nil, false, math.huge
  for _, event in ipairs(events) do if event.type == "stop" then stop = math.min(stop, event.at) end end
  local function say(text)
    if now < stop then said[#said + 1] = now .. " " .. tostring(text) end
  end
  local function profile()
    local value
    for _, event in ipairs(events) do
      if event.type == "identify" and event.at <= now and not (v_set and event.at < v_set.at) then value = event.payload.v end
    end
    if v_set and not value then value = v_set.n end
    return value
  end
  for _, step in ipairs(steps) do
    if step.op == "wait" or step.op == "until" then now = now + step.minutes * MINUTE
    elseif step.op == "for" then
      local got
      for _, event in ipairs(events) do
        local wanted = event.type == step.on[1] or event.type == step.on[2]
        if not got and wanted and event.at > now and event.at <= now + step.minutes * MINUTE
          and (not step.over or event.payload.n > step.over) then got = event end
      end
      now = got and got.at or now + step.minutes * MINUTE
      say(got and got.type .. got.payload.n or "none")
    elseif step.op == "count" then
      local n = 0
      for _, event in ipairs(events) do if event.type == "seen" and event.at <= now then n = n + 1 end end
      say(n % 2 == 1 and "odd " .. n or n)
    elseif step.op == "set" then if now < stop then v_set = { at = now, n = step.n } end
    elseif step.op == "get" then say(profile())
    elseif step.op == "split" then say(true)
    elseif step.op == "once" then say(not marked) marked = true
    elseif step.op ~= "continue" then say(step.op) end
  end
  return said
end

for _, how in ipairs { "in one engine", "in a fresh engine for each event" } do
  it("says the same, " .. how, function()
    local total = 0
    for round = 1, ROUNDS do
      local host = sim.host { rules = "rules/model" }
      local steps, events = make_steps(), make_events()
      local began = host:now()
      local words = {}
      for i, step in ipairs(steps) do words[i] = step.op end
      host:event { type = "go", user = "ada", payload = { steps = steps } }
      for _, event in ipairs(events) do
        host:at(began + event.at)
        if how ~= "in one engine" then host:reload "rules/model" end
        host:event { type = event.type, user = "ada", payload = event.payload }
      end
      host:advance "60d"
      local said = {}
      for i, message in ipairs(host:sent()) do said[i] = message.at - began .. " " .. message.text:gsub("%s+$", "") end
      assert.same({}, host:dead())
      assert.same(model(steps, events), said, "round " .. round .. ": " .. table.concat(words, " "))
      total = total + #said
    end
    assert.truthy(total > ROUNDS)
  end)
end
]]

describe("random journeys", function()
  it("say what a model says that runs them in memory", function()
    local directory = files.temporary()
    files.write(directory .. "/rules/model/rule.lua", rule)
    files.write(directory .. "/rules/model/said.txt", "{{{text}}}\n")
    local seed = tonumber(os.getenv "KAIROS_SEED") or 20261122
    files.write(directory .. "/spec/rules/model_spec.lua", (spec:gsub("SEED", tostring(seed)):gsub("ROUNDS", "150")))
    local result = process.run { command = { "sh", "-c", "cd " .. directory .. " && exec " .. binary .. " spec --seconds 120" },
      seconds = 150 * Host.patience }
    files.remove(directory)
    assert.equal(0, result.status, result.out .. result.err)
  end)
end)
