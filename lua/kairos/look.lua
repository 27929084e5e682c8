--- What `kairos repl` finds: the running host, to look at. Runs in a session's own state, never in a rule's.
--
-- Each function asks the host and waits for its answer while the worker goes on. What comes back are copies: to change one
-- changes nothing. Functions that change the host ask for a session that said `:write`, and are written to the log with who
-- asked. Personal data and user ids come masked unless the session said `:unmask`, or the call says { unmask = true }.

local ask, now = ask, now -- luacheck: globals ask now

local help = {}
local shown = {} -- names, in the order in which help lists them

local function describe(name, line, text)
  shown[#shown + 1] = name
  help[name] = { line = line, text = text }
end

--- The host's answer, or its refusal as an error.
local function question(name, arguments)
  local ok, answer = ask(name, arguments or {})
  if not ok then error(answer, 0) end
  return answer
end

local function text(value, what, example)
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" or value == "" then error(what .. ", such as " .. example, 0) end
  return value
end

local function with(options, fields)
  for name, value in pairs(type(options) == "table" and options or {}) do fields[name] = value end
  return fields
end

-- ---- a user ----

local User = {}

local function named(user, fields)
  fields.user, fields.subject = user.user_id, user.subject_id
  fields.unmask = fields.unmask or user.unmasked
  return fields
end

--- Methods ask by this key whom they are about: an id in the fields may be masked.
local OWNER = {}

local function owner(user, method)
  local of = type(user) == "table" and user[OWNER]
  if not of then error(("write %s with a colon, on what user \"ada\" returns: user(\"ada\"):%s(…)"):format(method, method), 0) end
  return of
end

local function wrap(answer, of)
  return setmetatable(answer, {
    __index = function(_, name)
      if name == OWNER then return of end
      return User[name]
    end,
    __metatable = "user",
  })
end

local function user(id, options)
  local of = {
    user_id = text(id, "user takes an id", 'user "ada"'),
    unmasked = type(options) == "table" and options.unmask or nil,
  }
  return wrap(question("user", named(of, {})), of)
end
describe("user", 'user "ada"                what the host knows of a user; with methods, see :help user', [[
user "ada" returns a copy of the user's record: attributes, windows, timers, throttles, suppressions, consents, and the segments,
experiments and journeys that the user is in.
user("ada", { unmask = true }) shows personal data; the log says who asked.

  :events { last = 20, type = … }   what happened to the user, newest last
  :decisions { last = 20, about = "template or campaign" }   what was sent, skipped, failed, and why
  :replay { about = "campaign" }    every rule that looked, with the facts it read
  :count("product.viewed", key)     each declared window of this event type, and what it answers now
  :journey("campaign")              where each of the user's journeys stands, and its history in words
  :move("campaign", key)            that journey goes on now, past its wait               (:write)
  :finish("campaign", key, why)     it ends                                               (:write)
  :set(name, value)                 an attribute; nil removes it                          (:write)
  :suppress(channel, reason)        nothing more on a channel; "*" is every one           (:write)
  :unsuppress(channel)                                                                    (:write)
  :grant(purpose, channel)          the user consents; without a channel, on every one    (:write)
  :withdraw(purpose, channel)       the user does not                                     (:write)
  :cancel(campaign, timer)          a pending timer                                       (:write)]])

local function subject(id, options)
  local of = {
    subject_id = text(id, "subject takes an id", 'subject "K1"'),
    unmasked = type(options) == "table" and options.unmask or nil,
  }
  return wrap(question("user", named(of, {})), of)
end
describe("subject", 'subject "K1"              the same of a thing', [[
subject "K1" is user for what is no person: a product, a service.]])

function User:events(options)
  return question("events", named(owner(self, "events"), with(options, {})))
end

function User:decisions(options)
  return question("decisions", named(owner(self, "decisions"), with(options, {})))
end

function User:replay(options)
  return question("replay", named(owner(self, "replay"), with(options, {})))
end

function User:journey(campaign)
  return question("journeys_of", named(owner(self, "journey"), { id = campaign }))
end

function User:move(campaign, key)
  return question("journey_move", named(owner(self, "move"), {
    id = text(campaign, "move takes a campaign, and the journey's key if there are several", ':move("cart_abandoned", "c1")'),
    key = key and tostring(key),
  }))
end

function User:finish(campaign, key, why)
  return question("journey_end", named(owner(self, "finish"), {
    id = text(campaign, "finish takes a campaign, and the journey's key if there are several", ':finish("cart_abandoned", "c1")'),
    key = key and tostring(key), text = why,
  }))
end

function User:count(event_type, key)
  return question("windows", named(owner(self, "count"), {
    type = text(event_type, "count takes an event type", 'user("ada"):count("product.viewed", "K1")'),
    key = key,
  }))
end

function User:set(name, value)
  return question("set", named(owner(self, "set"), { name = text(name, "set takes a name", ':set("vip", true)'), value = value }))
end

function User:suppress(channel, reason)
  return question("suppress", named(owner(self, "suppress"), { channel = channel or "*", text = reason }))
end

function User:unsuppress(channel)
  return question("unsuppress", named(owner(self, "unsuppress"), { channel = channel or "*" }))
end

function User:grant(purpose, channel)
  return question("grant", named(owner(self, "grant"), {
    text = text(purpose, "grant takes a purpose", ':grant("marketing", "email")'), channel = channel or "*",
  }))
end

function User:withdraw(purpose, channel)
  return question("withdraw", named(owner(self, "withdraw"), {
    text = text(purpose, "withdraw takes a purpose", ':withdraw("marketing", "email")'), channel = channel or "*",
  }))
end

function User:cancel(campaign, timer)
  return question("cancel", named(owner(self, "cancel"), {
    campaign = text(campaign, "cancel takes campaign and timer", ':cancel("welcome", "second")'),
    timer = text(timer, "cancel takes campaign and timer", ':cancel("welcome", "second")'),
  }))
end

-- ---- the host ----

local function campaigns()
  return question "campaigns"
end
describe("campaigns", "campaigns()               every campaign: how it runs, calls, sends, skips, errors, time", [[
campaigns() lists what `campaign` shows of one, counted since the host started, over all workers.]])

local function campaign(name)
  local found = question("campaigns", { campaign = text(name, "campaign takes a name", 'campaign "welcome"') })
  if not found[1] then
    local names = {}
    for _, one in ipairs(campaigns()) do names[#names + 1] = one.campaign end
    error(('there is no campaign "%s"; there are: %s'):format(name, table.concat(names, ", ")), 0)
  end
  return found[1]
end
describe("campaign", 'campaign "welcome"        one of them', [[
campaign "welcome" shows how it runs, how often its rule ran and failed, what it decided, what the gate held back by reason
(skips), and the time of a run (p50, p99, in microseconds; -1 before the first), since the host started.]])

local function journeys(of)
  return question("journeys", { id = of })
end
describe("journeys", "journeys()                how many stand where, and those that are parked", [[
journeys() counts the journeys under way by campaign, step and source; journeys "cart_abandoned" those of one. One person's, with
what was answered to each so far: user("ada"):journey().]])

local function fan_outs()
  return question "fan_outs"
end
describe("fan_outs", "fan_outs()                events that reach many users, and how far they are", [[
fan_outs() is what `kairos fanouts` shows.]])

local function segments()
  return question "segments"
end
describe("segments", "segments()                every segment: what it reads, how many users are in it", [[
segments() counts the members in the store and in memory; who is in one: segment "NAME".]])

local function segment(name, options)
  local behind = type(options) == "table" and options.user
  if type(behind) == "string" and behind:find "^~%x%x%x%x%x%x%x%x%x%x$" then
    error('this `next` is masked; go through the pages with segment("NAME", { user = next, unmask = true }), or :unmask', 0)
  end
  return question("segments", with(options, { id = text(name, "segment takes a name", 'segment "regulars"') }))
end
describe("segment", 'segment "regulars"        who is in it, and since when', [[
segment "regulars" lists its members, a page at a time: { members = {…}, next = the last user }; the next page is
segment("regulars", { user = next }). Users are masked, `next` too: to go through the pages add { unmask = true } to each
call, or say :unmask. What one user is in stands in user "ada".]])

local function experiments()
  return question("experiments").experiments
end
describe("experiments", "experiments()             what experiments and holdouts say", [[
experiments() is what `kairos experiments` shows: variants with their users, goals, rates, lifts, and a verdict.]])

local function experiment(name)
  return question("experiments", { about = text(name, "experiment takes a name", 'experiment "subject_line"') }).experiments[1]
end
describe("experiment", 'experiment "subject_line"  one of them', [[
experiment "subject_line" shows one; which variant a user has stands in user "ada".]])

local function status()
  return question "status"
end
describe("status", "status()                  the host as a whole", [[status() is what `kairos status` shows.]])

local function queues()
  return question "queues"
end
describe("queues", "queues()                  what waits: in workers, outbox, providers, log", [[
queues() shows each worker's inputs in flight and waiting, the messages of each provider with its breaker, and the log.]])

local function generations()
  return question "generations"
end
describe("generations", "generations()             which sources serve, and which served before", [[
generations() lists the rules' generations, the newest last.]])

local function dead(id)
  if id then return question("dead_show", { id = text(id, "dead takes an id", 'dead "…"') }) end
  return question "dead"
end
describe("dead", 'dead(), dead "ID"         dead letters, or the whole of one', [[
dead() lists rules that failed and messages that were given up; dead "ID" shows one. dead_retry "ID" and dead_drop "ID"
(or "all") work on them, after :write.]])

local function dead_retry(id)
  return question("dead_retry", { id = text(id, "dead_retry takes an id", 'dead_retry "all"') })
end
local function dead_drop(id)
  return question("dead_drop", { id = text(id, "dead_drop takes an id", 'dead_drop "all"') })
end
describe("dead_retry", 'dead_retry "ID"           run it again, or send it again  (:write)', [[as `kairos dead retry`]])
describe("dead_drop", 'dead_drop "ID"            forget it                       (:write)', [[as `kairos dead drop`]])

local function pausing(verb)
  return function(what)
    if type(what) == "table" then
      local name = text(what.campaign, verb .. " takes a provider's name or { campaign = … }", verb .. ' { campaign = "welcome" }')
      return question(verb .. "_campaign", { id = name, text = what.reason })
    end
    return question(verb, { channel = what or "*" })
  end
end
local pause, resume = pausing "pause", pausing "resume"
describe("pause", 'pause "PROVIDER"          messages wait                   (:write)', [[
pause() pauses every provider; pause { campaign = "welcome", reason = "wrong prices" } pauses a campaign, by a new generation.]])
describe("resume", 'resume "PROVIDER"         they go on                      (:write)', [[
resume() resumes every provider; resume { campaign = "welcome" } a campaign.]])

-- ---- what would happen ----

local function try(event)
  if type(event) ~= "table" then
    error('try takes an event: try { type = "product.viewed", user = "ada", payload = { sku = "K1" } }', 0)
  end
  local known = { type = true, user = true, subject = true, payload = true, metadata = true, at = true, id = true, unmask = true,
    needs = true }
  for name in pairs(event) do
    if not known[name] then
      error(("try does not know `%s`; it takes type, user or subject, payload, metadata, at, id, needs"):format(tostring(name)), 0)
    end
  end
  return question("try", {
    unmask = event.unmask,
    needs = event.needs,
    event = {
      event_id = event.id or ("try-" .. now()),
      event_type = event.type,
      user_id = event.user,
      subject = event.subject,
      timestamp = event.at or now(),
      payload = event.payload,
      metadata = event.metadata,
    },
  })
end
describe("try", 'try { type =, user =, payload = }   what an event would do; changes nothing', [[
try { type = "product.viewed", user = "ada", payload = { sku = "K1" } } runs the serving rules on a copy of the user's
record, off the workers, and shows what each decided with the facts it read, each check's answer for each message, and what
would change. Nothing is stored, sent, asked or counted. `at` is the event's time in ms (now, if left out); `needs` is what
look-ups answer, by their names in the rule: needs = { stock = { left = 1 } }. Left out, the rule gets its fallback.]])

describe("now", "now()                     ms since 1970", [[now() is the wall clock, in milliseconds since 1970.]])

-- ---- help ----

local meta = [[
  :worker N    run what follows on worker N    :write     allow what changes the host, and write it to the log
  :help NAME   more about one                  :unmask    show personal data; the log says who asked
  :quit        leave                           _          the last value; Ctrl-C ends what runs]]

local function explain(name)
  if name and help[name] then
    print(help[name].line)
    print(help[name].text)
  elseif name then
    print(("there is no help about `%s`; :help lists what there is"):format(tostring(name)))
  else
    print("An expression shows its value, a statement runs; a global lasts as long as the session. Lua 5.1, as in rules.\n")
    for _, each in ipairs(shown) do print("  " .. help[each].line) end
    print("")
    print(meta)
  end
end

local names = { attributes = {}, windows = {}, timers = {}, suppressions = {}, throttles = {}, consents = {}, segments = {},
  experiments = {}, journeys = {} }
for name, method in pairs(User) do names[name] = method end

return {
  user = user, subject = subject, campaign = campaign, campaigns = campaigns, segment = segment, segments = segments,
  experiment = experiment, experiments = experiments, journeys = journeys, fan_outs = fan_outs, status = status, queues = queues,
  generations = generations, dead = dead, dead_retry = dead_retry, dead_drop = dead_drop, pause = pause, resume = resume,
  try = try, now = now, help = explain,
}, names
