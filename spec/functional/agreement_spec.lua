-- The promises together: made campaigns of every kind and made histories, through reloads, pauses and power cuts. What the
-- host did, what it says, what it says when it looks back, and what it would have done must be one story.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local socket = require "socket"
local random = dofile "tools/torture.d/random.lua"

local HOUR, MINUTE = 3600 * 1000, 60 * 1000
local CAPS = { news = { 6, 24 * HOUR }, offers = { 3, 24 * HOUR }, club = { 2, 24 * HOUR } }
local USERS = { "ada", "bob", "cid", "dan", "eve" }
local SKUS = { "k1", "k2", "k3" }

-- Campaigns. `%d` and `%s` are filled with what the seed says, so that a reload changes what rules do, not what they are.

local function campaign(text, ...)
  local values, used = { ... }, 0
  return (text:gsub("#", function()
    used = used + 1
    return tostring(values[used])
  end))
end

--- A conversation for each thing that is looked at, till it is bought.
local WAY = [[
local kairos = require "kairos"
local views = kairos.window { of = "view", by = "payload.sku", over = "1h" }
return kairos.journey { start = { on = "view" }, key = "payload.sku", again = "restart",
  exit = { on = "buy", where = function(event, journey) return event.payload.sku == journey.key end },
  run = function(journey, user, event)
    local before = user:count(views, journey.key)
    journey:wait "5m"
    local side = journey:split { name = "side", left = 1, right = 1 }
    local passed, why = journey:send { channel = "push", template = "said", purpose = "news",
      data = { text = "way " .. side .. " " .. before .. " " .. tostring(user.looks) } }
    local more = journey:wait_for { on = "view", within = "12m",
      where = function(other, journey) return other.payload.sku == journey.key end }
    journey:send { channel = "webhook", template = "said", purpose = "offers", once_per = "5m",
      data = { text = "way on " .. tostring(passed) .. tostring(why) .. tostring(more and more.payload.amount) } }
  end }
]]

--- @param away  hours in which it is not now
-- @param over  how far caps look back
local function campaigns(rng, away, over)
  local made = {}
  made.counter = campaign([[
local kairos = require "kairos"
local plain = kairos.window { of = "view", over = "#m" }
local keyed = kairos.window { of = "view", by = "payload.sku", over = "#m" }
local spent = kairos.window { of = "buy", sum = "payload.amount", over = "1h" }
return kairos.rule { on = { "view", "buy" }, priority = #,
  when = function(event, user) return user:count(keyed, event.payload.sku) >= # or user:sum(spent) > # end,
  act = function(event, user)
    user:set("looks", user:count(plain))
    user:send { channel = "push", template = "said", purpose = "news", once_per = "#m",
      data = { text = "counter " .. user:count(plain) } }
  end }
]], rng:between(5, 90), rng:between(5, 90), rng:between(-2, 2), rng:between(1, 3), rng:between(10, 90), rng:between(5, 60))
  made.limited = campaign([[
local kairos = require "kairos"
local often = kairos.throttle { name = "often", rate = "#/1h", burst = # }
return kairos.rule { on = "view",
  act = function(event, user)
    if user:allow(often, event.payload.sku) and user:once("first " .. event.payload.sku, "#m") then
      user:send { channel = "webhook", template = "said", purpose = "offers", on_cap = "#", data = { text = "limited" } }
    end
  end }
]], rng:between(1, 6), rng:between(1, 3), rng:between(5, 50), rng:any { "skip", "defer" })
  made.timed = campaign([[
local kairos = require "kairos"
return kairos.rule { on = "view",
  act = function(event, user)
    user:after("#m", { name = "chase", data = { sku = event.payload.sku }, cancel_on = "buy" })
  end,
  timers = { chase = function(timer, user)
    user:set("chased", (user.chased or 0) + 1)
    user:send { channel = "webhook", template = "said", purpose = "offers", cap = "#/#",
      data = { text = "chase " .. timer.data.sku .. " " .. user.chased } }
  end } }
]], rng:between(1, 15), rng:between(1, 4), over)
  made.shade = campaign([[
local kairos = require "kairos"
local often = kairos.throttle { name = "often", rate = "9/1h" }
return kairos.rule { on = { "view", "buy" }, mode = "#", priority = 9,
  act = function(event, user)
    user:set("looks", 999)
    user:after("3m", { name = "more" })
    if user:allow(often) then
      user:send { channel = "push", template = "said", purpose = "news", cap = "5/1d", data = { text = "shade" } }
    end
  end,
  timers = { more = function(timer, user)
    user:send { channel = "webhook", template = "said", purpose = "offers", once_per = "10m", data = { text = "shade later" } }
  end } }
]], "shadow")
  made.split = campaign([[
local kairos = require "kairos"
local words = kairos.experiment { name = "words", variants = { few = #, many = #, none = 1 }, holdout = "#%", choose = "#",
  goal = { on = "buy", within = "#m", value = "payload.amount",
    where = function(event, exposure) return event.payload.amount % 2 == 0 or exposure.variant == "few" end } }
return kairos.rule { on = { "view", "buy" },
  act = function(event, user)
    user:send { channel = "push", template = "said", purpose = "news", once_per = "15m", data = { text = user:variant(words) } }
  end }
]], rng:between(1, 5), rng:between(1, 5), rng:any { 20, 40 }, rng:any { "fixed", "thompson" }, rng:between(5, 90))
  made.half = campaign([[
local kairos = require "kairos"
return kairos.rule { on = { "buy", "identify" }, rollout = "#%", holdout = "30%",
  goal = { on = "view", within = "1h", value = "payload.amount" },
  act = function(event, user)
    user:send { channel = "push", template = "said", purpose = "club", data = { text = "half " .. tostring(user.looks) } }
  end }
]], rng:any { 50, 75 })
  for index, name in ipairs { "rival_a", "rival_b" } do
    made[name] = campaign([[
local kairos = require "kairos"
return kairos.rule { on = "buy", competes = "desk", priority = #,
  when = function(event, user) return event.payload.amount % # == 0 end,
  act = function(event, user)
    user:send { channel = "webhook", template = "said", purpose = "#", once_per = "20m", data = { text = "rival" } }
  end }
]], rng:between(1, 3), rng:between(1, 2), index == 1 and "news" or "club")
  end
  made.failing = campaign([[
local kairos = require "kairos"
return kairos.rule { on = "view",
  act = function(event, user)
    user:set("tries", (user.tries or 0) + 1)
    user:once("tried", "1m")
    user:send { channel = "push", template = "said", purpose = "news", data = { text = "failing" } }
    if event.payload.amount % # == 0 then error("on purpose " .. user.tries) end
    if event.payload.amount % 3 > 0 then return end
    user:set("tries", nil)
  end }
]], rng:between(2, 4))
  made.asker = campaign([[
local kairos = require "kairos"
local asks = kairos.window { of = "ask", over = "1h" }
return kairos.rule { on = "ask",
  needs = { stock = kairos.needs { from = "shop", path = "/stock/{{payload.sku}}", timeout = "20s", fallback = { left = 0 } } },
  needs_if = function(event, user) return user:count(asks) % # > 0 end,
  when = function(event, user, needs) return needs.stock.left < # end,
  act = function(event, user, needs)
    user:set("left", needs.stock.left)
    user:send { channel = "push", template = "said", purpose = "stock", data = { text = "left " .. needs.stock.left } }
  end }
]], rng:between(2, 3), rng:between(1, 8))
  made.closed = campaign([[
local kairos = require "kairos"
return kairos.rule { on = "buy", hours = "# UTC",
  act = function(event, user)
    user:send { channel = "push", template = "said", data = { text = "never now" } }
  end }
]], away)
  made.reader = campaign([[
local kairos = require "kairos"
local skus = kairos.window { of = "view", distinct = "payload.sku", over = "1h" }
local last = kairos.window { of = "view", last = "payload.sku", over = "30m" }
return kairos.rule { on = { "view", "buy", "ask", "end" },
  when = function(event, user) return (user.looks or 0) >= # and user:consents("club", "push") == # end,
  act = function(event, user)
    user:send { channel = "push", template = "said", purpose = "news", cap = "#/1d", to = user.phone,
      data = { text = tostring(user.chased) .. " " .. user:distinct(skus) .. " " .. tostring(user:last(last)) } }
  end }
]], rng:between(0, 3), rng:chance(50), rng:between(1, 6))
  made.groups = campaign([[
local kairos = require "kairos"
local segment = kairos.segment
local views = kairos.window { of = "view", by = "payload.sku", over = "#m" }
local spent = kairos.window { of = "buy", sum = "payload.amount", over = "#m" }
local gone = kairos.window { of = "segment.left", over = "1h" }
local function tells(name, on)
  return kairos.rule { name = name, on = on, act = function(event, user)
    user:set("moves", (user.moves or 0) + 1)
    user:emit { type = "moved", payload = { by = event.payload.segment } }
    user:send { channel = "webhook", template = "said", purpose = "transactional",
      data = { text = event.type .. " since " .. event.payload.since } }
  end }
end
return {
  segment { name = "lookers", member = function(user) return user:count(views, "k1") >= # end },
  segment { name = "thrifty", reads = "lookers", member = function(user)
    return user.looks and user:sum(spent) < # and not user:in_segment "lookers"
  end },
  tells("comes", "segment.entered"), tells("goes", segment.left "lookers"),
  kairos.rule { name = "moved", on = "moved",
    act = function(event, user) user:set("gone", event.payload.by .. " " .. user:count(gone)) end },
}
]], rng:between(2, 30), rng:between(2, 30), rng:between(1, 2), rng:between(10, 40))
  made.receipt = [[
local kairos = require "kairos"
return kairos.rule { on = "buy",
  act = function(event, user)
    user:send { channel = "webhook", template = "said", purpose = "transactional", data = { text = "receipt " .. event.id } }
  end }
]]
  return made
end

--- What happens, as a list of steps: {kind, …}. Events are of the last two hours, each user's at moments of their own.
-- @param late  some events come long after others that they should have preceded
local function history(rng, seed, base, options)
  local steps, at, known = {}, base - 2 * HOUR, {}
  local function add(kind, value) steps[#steps + 1] = { kind = kind, value = value } end
  local function made(type, payload, user)
    at = at + rng:between(1, 2 * 110 * MINUTE / options.events)
    local event = { event_id = ("%d-%d"):format(seed, #known + 1), event_type = type, user_id = user or rng:any(USERS),
      timestamp = at, payload = payload }
    if options.late and rng:chance(12) then event.timestamp = at - rng:between(1, 40) * MINUTE end
    known[#known + 1] = event
    return event
  end
  while #known < options.events do
    local batch = {}
    for _ = 1, rng:between(1, 16) do
      local dice = rng:to(100)
      local payload = { sku = rng:any(SKUS), amount = rng:to(40) }
      if dice <= 50 then
        batch[#batch + 1] = made("view", payload)
      elseif dice <= 72 then
        batch[#batch + 1] = made("buy", payload)
      elseif dice <= 80 then
        batch[#batch + 1] = made("identify", { looks = rng:between(0, 5), phone = "p" .. rng:to(3) })
      elseif dice <= 84 then
        batch[#batch + 1] = made("consent.granted", { purpose = rng:any { "club", "news", "offers" } })
      elseif dice <= 88 then
        -- What waits is cancelled by these, and gives back what it reserved: whether any did is to be no matter of luck. So
        -- the user's timers that are due fire before, and what they send leaves.
        if #batch > 0 then add("post", batch) end
        local user = dice == 88 and "eve" or rng:any(USERS)
        local tick = made("tick", {}, user)
        local ends = dice == 88 and made(rng:any { "message.bounced", "message.unsubscribed" },
            { channel = rng:any { "push", "webhook" } }, user)
          or made("consent.withdrawn", { purpose = rng:any { "club", "news", "offers" },
            channel = rng:any { "push", "webhook", cjson.null } }, user)
        tick.timestamp, ends.timestamp = at - 1, at
        add("post", { tick })
        add("quiet", { ends })
        batch = {}
      elseif dice <= 95 and #known > 0 then
        batch[#batch + 1] = known[rng:to(#known)] -- again
      elseif options.asks then
        if #batch > 0 then add("post", batch) end
        add("ask", made("ask", payload))
        batch = {}
      end
    end
    if #batch > 0 then add("post", batch) end
  end
  local last = {}
  at = base
  for index, user in ipairs(USERS) do last[index] = made("end", {}, user) end
  for _, event in ipairs(last) do event.timestamp = base end
  add("post", last)
  local function insert(kind, share, value)
    table.insert(steps, math.max(1, math.floor(#steps * share)), { kind = kind, value = value })
  end
  for _, extra in ipairs(options.extra) do insert(unpack(extra)) end
  return steps
end

local World = {}
World.__index = World

--- A host with its sinks. @param purposes  as configured
function World.start(rules, config)
  local self = setmetatable({ hook = Sink.start(), shop = Sink.start(), kills = 0 }, World)
  local function stock(left)
    return { status = 200, headers = { ["Content-Type"] = "application/json" }, body = cjson.encode { left = left } }
  end
  self.shop:answer { paths = { ["/stock/k1"] = stock(1), ["/stock/k2"] = stock(5), ["/stock/k3"] = { status = 500 } } }
  local all = {
    rules = { watch = false },
    providers = { { name = "hook", type = "webhook", url = self.hook.url, secret_env = "HOOK_SECRET", ambiguous = "resend",
      backoff_base = "20ms" } },
    routes = { webhook = "hook" },
    lookups = { { name = "shop", url = (self.shop.url:gsub("/hook$", "")), breaker_failures = 1000 } },
  }
  for name, value in pairs(config) do all[name] = value end
  self.host = Host.start { rules = rules, config = all, env = { HOOK_SECRET = "whsec_" .. ("a"):rep(32) } }
  return self
end

function World:remove()
  self.host:remove()
  self.hook:remove()
  self.shop:remove()
end

--- @param only  a user; all of them unless given
function World:waits_for_answers(only)
  for _, user in ipairs(only and { only } or USERS) do
    for _, timer in ipairs(self.host:ask("user", user).timers or {}) do
      if timer.campaign == "asker" then return true end
    end
  end
  return false
end

function World:post(batch)
  local answer = self.host:post(Host.json(batch))
  assert.equal(202, answer.status, answer.body)
  assert.equal(#batch, answer.json.accepted + answer.json.duplicates, answer.body)
end

--- Wait until what the user has put an end to is cancelled: a host that ends between the two does it when the message would
-- go, and till then it counts for caps.
function World:wait_for_end(event)
  local said = event.payload
  process.eventually(5 * Host.patience, function()
    for _, decision in ipairs(self.host:ask("why", event.user_id)) do
      if decision.message_id and decision.decision == "send" and decision.not_before and #decision.outcomes == 0
        and (said.purpose == nil or said.purpose == decision.purpose)
        and (said.channel == cjson.null or said.channel == decision.channel) then
        return false
      end
    end
    return true
  end)
end

--- Play the steps. @param kinds  which of kill and cut happen
function World:play(steps, kinds)
  local host = self.host
  local cut
  for _, step in ipairs(steps) do
    local value = step.value
    if step.kind == "quiet" and not kinds.hasty then self:settle() end
    if step.kind == "post" or step.kind == "quiet" then
      if cut and step.kind == "post" then
        cut = false
        host:connect():send(http.request_bytes { body = Host.json(value) })
        socket.sleep(0.003)
        host:kill()
        host:run()
        self.kills = self.kills + 1
      end
      self:post(value)
      if step.kind == "quiet" and not kinds.hasty then self:wait_for_end(value[1]) end
    elseif step.kind == "ask" then
      self:post { value }
      assert.truthy(kinds.hasty or process.eventually(20 * Host.patience, function()
        return not self:waits_for_answers(value.user_id)
      end), "a rule still waits for its look-up")
    elseif step.kind == "kill" and kinds.kill then
      host:kill()
      host:run()
      self.kills = self.kills + 1
    elseif step.kind == "cut" and kinds.kill then
      cut = true
    elseif step.kind == "reload" then
      for name, text in pairs(value) do
        files.write(host.rules .. "/" .. name .. "/rule.lua", text)
        files.write(host.rules .. "/" .. name .. "/said.txt", "{{{text}}}")
      end
      local result = host:command "reload"
      assert.equal(0, result.status, result.out .. result.err)
    elseif step.kind == "command" then
      if not kinds.hasty then self:settle() end
      local result = host:command(unpack(value))
      assert.equal(0, result.status, result.out .. result.err)
    elseif step.kind == "retry" then
      host:command("dead", "retry", "--all") -- some fail again
    end
  end
end

--- Wait until nothing is on its way that need not wait.
-- @param deferred  messages that are deferred, too
function World:settle(deferred)
  assert.truthy(process.eventually(30 * Host.patience, function()
    local status = self.host:ask "status"
    for _, provider in pairs(status.providers) do
      if provider.waiting + provider.in_flight > 0 then return false end
    end
    local shop = status.lookups.shop
    return shop.waiting + shop.in_flight == 0 and not (deferred and status.deferred.waiting > 0)
  end), "the host did not come to rest")
end

--- Text that is alike for equal values.
local function plain(value)
  if value == cjson.null then return "null" end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for name, item in pairs(value) do parts[#parts + 1] = tostring(name) .. "=" .. plain(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ", ") .. "}"
end

--- What was logged of each run of a rule, from its messages and errors: by campaign and cause, in order, {decision, reason,
--- facts}. There are two of one cause where a dead letter was retried.
local function logged_runs(decisions)
  local runs = {}
  for _, decision in ipairs(decisions) do
    if decision.campaign and decision.decision ~= "emitted" and decision.campaign ~= "way" then
      local key = decision.campaign .. " " .. decision.cause
      local list = runs[key] or {}
      runs[key] = list
      local run = list[#list]
      if not run or run.accepted ~= decision.accepted or run.decision == "failed" then
        run = { accepted = decision.accepted, facts = decision.facts }
        list[#list + 1] = run
      end
      if decision.decision == "send" then
        run.decision, run.reason = "send", ""
      elseif decision.decision == "skip" and run.decision ~= "send" then
        run.decision, run.reason = "skip", decision.reason == "shadow" and "shadow" or run.reason or ""
      elseif decision.decision == "failed" then
        run.decision, run.reason = "failed", decision.error
      elseif decision.decision == "none" then
        run.decision, run.reason = "none", decision.reason
      end
    end
  end
  return runs
end

--- What was decided and what the same runs decide again, of one user. @return differences as text, how many were alike, and how
-- often the user entered or left a segment
local function disagreements(host, user)
  local decisions = host:ask("why", user)
  local runs, found, count = logged_runs(decisions), {}, 0
  local rows, moves, moved = {}, {}, 0
  for _, decision in ipairs(decisions) do
    if decision.segment then
      moves[#moves + 1] = ("%s %s at %d"):format(decision.decision, decision.segment, decision.at)
    end
  end
  for _, row in ipairs(host:ask("why", user, "--replay")) do
    if row.campaign == "way" then -- a journey's runs are told step by step, several of one cause
      assert.not_equal("failed", row.decision, row.reason)
    elseif not row.segment then
      rows[#rows + 1] = row
    elseif row.decision ~= "in" and row.decision ~= "out" then
      local now, before = ("%s %s at %d"):format(row.decision, row.segment, row.at), table.remove(moves, 1)
      moved = moved + 1
      if now ~= before then found[#found + 1] = ("%s: %s was %s"):format(user, now, tostring(before)) end
    end
  end
  for _, move in ipairs(moves) do found[#found + 1] = ("%s: %s is not there again"):format(user, move) end
  for _, row in ipairs(rows) do
    local key = row.campaign .. " " .. row.cause
    local run = runs[key] and table.remove(runs[key], 1)
    local function differs(what, then_, now)
      found[#found + 1] = ("%s, %s (generation %s): %s was %s, again %s"):format(user, key, row.generation, what, then_, now)
    end
    if run then
      count = count + 1
      if run.decision ~= row.decision then
        differs("decision", run.decision, row.decision .. " " .. row.reason)
      elseif run.reason ~= row.reason then
        differs("reason", run.reason, row.reason)
      end
      for name, value in pairs(run.facts or {}) do
        if plain(row.facts[name]) ~= plain(value) then differs("fact " .. name, plain(value), plain(row.facts[name])) end
      end
    elseif row.decision ~= "none" then
      differs("decision", "not logged", row.decision)
    end
  end
  for key, list in pairs(runs) do
    for _, run in ipairs(list) do
      found[#found + 1] = ("%s, %s: was %s %s, is not there again"):format(user, key, run.decision, run.reason)
    end
  end
  return found, count, moved
end

--- Messages as they left: message id -> {times, at (of the first; nil for files), user}
function World:left()
  local left = {}
  for _, message in ipairs(self.host:messages()) do left[message.message_id] = { times = 1, user = message.user_id } end
  for _, request in ipairs(self.hook:requests()) do
    local id = request.json.message_id or request.headers["webhook-id"]
    left[id] = left[id] or { times = 0, at = request.at, user = request.json.user_id }
    left[id].times = left[id].times + 1
  end
  return left
end

--- All that must hold of one world, when it is at rest.
-- @param caps  purpose -> {number, milliseconds}: of each user's messages, in any span of that length
function World:check(caps)
  local left, problems, passed, runs, moved = self:left(), {}, 0, 0, 0
  local function problem(...) problems[#problems + 1] = (...):format(select(2, ...)) end
  for _, user in ipairs(USERS) do
    local differing, compared, changes = disagreements(self.host, user)
    runs, moved = runs + compared, moved + changes
    for _, text in ipairs(differing) do problems[#problems + 1] = text end
    local moments = {}
    for _, decision in ipairs(self.host:ask("why", user)) do
      local id = decision.message_id
      local name = id and ("%s %s %s %s"):format(user, decision.campaign, decision.cause, id)
      if id and decision.decision == "send" then
        passed = passed + 1
        local outcome = decision.outcomes[#decision.outcomes]
        outcome = outcome and outcome.outcome
        local waits = decision.not_before and decision.not_before > Host.now() - 1000
        if left[id] then
          if left[id].times > 1 + self.kills then problem("%s left %d times", name, left[id].times) end
          -- One that was cut off may have been cancelled before it went again.
          if outcome ~= "accepted" and not (outcome == "cancelled" and #decision.attempts > 0 and self.kills > 0) then
            problem("%s left, and its outcome is %s", name, tostring(outcome))
          end
          if decision.not_before and left[id].at and left[id].at < decision.not_before then
            problem("%s left %d ms before its moment", name, decision.not_before - left[id].at)
          end
          local list = moments[decision.purpose] or {}
          moments[decision.purpose] = list
          list[#list + 1] = decision.not_before or decision.accepted
        elseif outcome ~= "cancelled" and not waits then
          problem("%s passed the gate and did not leave: %s", name, tostring(outcome))
        end
        if decision.campaign == "shade" and decision.generation == 1 or decision.campaign == "closed" then
          problem("%s should not pass", name)
        end
        left[id] = nil
      elseif id and left[id] then
        problem("%s was refused (%s), and left", name, decision.reason)
      end
    end
    for purpose, cap in pairs(caps) do
      local list = moments[purpose] or {}
      table.sort(list)
      for index = cap[1] + 1, #list do
        if list[index] - list[index - cap[1]] < cap[2] then
          problem("%s got more than %d of %s in %d ms", user, cap[1], purpose, cap[2])
        end
      end
    end
  end
  for id, message in pairs(left) do
    if message.user ~= "" then problem("message %s left, and nothing tells of it", id) end
  end
  assert.same({}, problems)
  assert.is_true(passed > 20 and runs > 60 and moved > 20,
    ("too little happened: %d messages, %d runs, %d changes of segments"):format(passed, runs, moved))
end

--- What the host knows of the users, and has decided, but for the clock on the wall.
function World:story()
  local told = {}
  for _, name in ipairs(USERS) do
    local user = self.host:ask("user", name)
    user.seq, user.bytes = nil, nil
    for _, timer in ipairs(user.timers or {}) do timer.set_at = nil end
    for _, one in ipairs(user.suppressions or {}) do one.at = nil end
    for counter, times in pairs(user.counted or {}) do user.counted[counter] = #times end
    local declared = {} -- those that nobody declares any more go when the record is next written
    for _, window in ipairs(user.windows or {}) do declared[#declared + 1] = window.window and window end
    user.windows = declared
    local windows = {} -- those that nobody declares any more go when the record is next written
    for _, window in ipairs(user.windows or {}) do
      window.id = nil
      if window.window then windows[#windows + 1] = plain(window) end
    end
    table.sort(windows)
    user.windows = windows
    for part, value in pairs(user) do told[#told + 1] = name .. " " .. part .. ": " .. plain(value) end
    for index, decision in ipairs(self.host:ask("why", name)) do
      told[#told + 1] = ("%s %03d %s %s %s %s %s %s"):format(name, index, decision.campaign or "", decision.cause or "",
        decision.decision, decision.reason or decision.error or decision.segment or decision.event_id or decision.experiment
          or decision.purpose,
        decision.message_id or decision.segment and decision.at or "", plain(decision.facts))
    end
  end
  table.sort(told)
  return told
end

local function assert_alike(one, other, what)
  local there, missing = {}, {}
  for _, line in ipairs(other) do there[line] = (there[line] or 0) + 1 end
  for _, line in ipairs(one) do
    if (there[line] or 0) > 0 then there[line] = there[line] - 1 else missing[#missing + 1] = "- " .. line end
  end
  for line, count in pairs(there) do
    for _ = 1, count do missing[#missing + 1] = "+ " .. line end
  end
  assert.same({}, missing, what)
end

--- A zone in which it is about noon, so that no calendar day ends meanwhile, and hours that are far away.
local function clock(base)
  local hour = math.floor(base / HOUR) % 24
  local offset = 13 - hour
  if offset < -11 then offset = offset + 24 end
  if offset > 12 then offset = offset - 24 end
  local zone = offset == 0 and "Etc/GMT" or ("Etc/GMT%+d"):format(-offset)
  return zone, ("%02d:00-%02d:00"):format((hour + 8) % 24, (hour + 9) % 24)
end

--- Purposes whose caps are as long as `over`.
local function purposes(over)
  return {
    { name = "news", caps = { "6/" .. over } },
    { name = "offers", caps = { "3/" .. over }, on_cap = "defer" },
    { name = "club", consent = "opt_in", caps = { "2/1d calendar" } },
    { name = "stock", consent = "none" },
  }
end

for _, seed in ipairs { 1, 2 } do
  describe("campaigns of seed " .. seed, function()
    local worlds
    before_each(function() worlds = {} end)
    after_each(function()
      for _, world in ipairs(worlds) do world:remove() end
    end)
    local function start(rules, config)
      worlds[#worlds + 1] = World.start(rules, config)
      return worlds[#worlds]
    end
    local base = Host.now() - 20 * MINUTE
    local zone, away = clock(base)
    local steady = { time_zone = zone, purposes = purposes "1d", caps = { "12/1d" },
      timers = { overdue_grace = "5m", overdue_hold_max = "10m" } }

    it("leave the same story with power cuts as without, through reloads, pauses and dead letters", function()
      local rng = random.new(seed)
      local first, second = campaigns(rng, away, "1d"), campaigns(rng, away, "1d")
      second.shade = second.shade:gsub('"shadow"', '"paused"')
      local steps = history(rng, seed, base, { events = 240, late = true, asks = true, extra = {
        { "kill", 0.2 }, { "command", 0.3, { "pause", "--campaign", "limited" } }, { "cut", 0.35 },
        { "command", 0.4, { "suppress", "dan", "webhook" } },
        { "reload", 0.5, second }, { "command", 0.6, { "resume", "--campaign", "limited" } }, { "retry", 0.62 }, { "kill", 0.65 },
        { "command", 0.7, { "unsuppress", "dan", "webhook" } }, { "cut", 0.9 },
      } })
      local cut, whole = start(first, steady), start(first, steady)
      cut:play(steps, { kill = true })
      whole:play(steps, {})
      cut:settle()
      whole:settle()
      cut:check(CAPS)
      whole:check(CAPS)
      assert_alike(whole:story(), cut:story())
    end)

    it("decide live, through power cuts, as simulate says they would", function()
      local rng = random.new(seed + 100)
      local rules = campaigns(rng, away, "1d")
      rules.way = WAY
      local steps = history(rng, seed, base, { events = 240, asks = true, extra = { { "kill", 0.3 }, { "cut", 0.7 } } })
      local world = start(rules, steady)
      world:play(steps, { kill = true })
      world:settle()
      world:check(CAPS)
      local events, live, simulated = {}, {}, {}
      for _, step in ipairs(steps) do
        for _, event in ipairs(step.kind == "ask" and { step.value } or type(step.value) == "table" and step.value or {}) do
          events[#events + 1] = event
        end
      end
      local host = world.host
      files.write(host.directory .. "/events.ndjson", Host.ndjson(events))
      local stock = { ["/stock/k1"] = { left = 1 }, ["/stock/k2"] = { left = 5 } }
      files.write(host.directory .. "/lookups.json", Host.json { shop = stock })
      local result = host:command("simulate", "--rules", host.rules, "--events", host.directory .. "/events.ndjson",
        "--lookups", host.directory .. "/lookups.json")
      assert.equal(0, result.status, result.err)
      local function tell(list, user, decision)
        list[#list + 1] = ("%s %d %s %s %s %s %s %s"):format(user, decision.at, decision.campaign, decision.template,
          decision.channel, decision.decision, decision.reason, decision.message_id)
      end
      for line in result.out:gmatch "[^\n]+" do
        local decision = cjson.decode(line)
        tell(simulated, decision.user_id, decision)
      end
      for _, user in ipairs(USERS) do
        for _, decision in ipairs(host:ask("why", user)) do
          if decision.message_id then tell(live, user, decision) end
        end
      end
      assert.is_true(#live > 50)
      assert_alike(live, simulated)
    end)

    it("hold to caps and say the same again when everything goes at once", function()
      local rng = random.new(seed + 200)
      local first, second = campaigns(rng, away, "1s"), campaigns(rng, away, "1s")
      second.shade = second.shade:gsub('"shadow"', '"live"')
      local steps = history(rng, seed, base, { events = 400, late = true, asks = true, extra = {
        { "kill", 0.2 }, { "command", 0.25, { "pause", "hook" } }, { "cut", 0.3 }, { "command", 0.35, { "resume", "hook" } },
        { "reload", 0.5, second }, { "retry", 0.55 }, { "cut", 0.6 }, { "command", 0.7, { "pause", "--campaign", "half" } },
        { "command", 0.8, { "resume", "--campaign", "half" } }, { "kill", 0.9 },
      } })
      local world = start(first, { time_zone = zone, purposes = purposes "1s", caps = { "9/1s" },
        timers = { overdue_grace = "50ms", overdue_hold_max = "1s" } })
      world:play(steps, { kill = true, hasty = true })

      -- Deferred messages wait. Whoever takes his consent back gets none of them, and nothing new.
      local last, now = {}, Host.now()
      for _, user in ipairs(USERS) do
        for _, purpose in ipairs { "news", "offers", "club", "marketing" } do
          last[#last + 1] = Host.event { type = "consent.withdrawn", user = user, payload = { purpose = purpose }, at = now }
        end
      end
      world:post(last)
      world:settle()
      local before = world:left()
      local more = {}
      for index, user in ipairs(USERS) do
        more[index] = Host.event { type = "view", user = user, payload = { sku = "k1", amount = 1 }, at = now + index }
        more[#USERS + index] = Host.event { type = "buy", user = user, payload = { sku = "k1", amount = 4 }, at = now + index }
      end
      world:post(more)
      world:settle(true)
      local after, receipts = world:left(), 0
      for _, user in ipairs(USERS) do
        for _, decision in ipairs(world.host:ask("why", user)) do
          local id = decision.message_id
          if id and after[id] and not before[id] then
            assert.truthy(decision.purpose == "transactional" or decision.purpose == "stock",
              ("%s got %s for %s after he withdrew his consent"):format(user, id, decision.purpose))
            receipts = receipts + 1
          end
        end
      end
      assert.is_true(receipts > 0)
      world:check { news = { 6, 1000 }, offers = { 3, 1000 }, club = { 2, 24 * HOUR } }
    end)
  end)
end
