--- Specs of campaigns: the whole story on a clock you own.
--
--     local sim = require "kairos.spec"
--
--     describe("cart_abandoned", function()
--       it("reminds an hour after the last change, once", function()
--         local host = sim.host { rules = "rules/cart_abandoned" }
--         host:event { type = "cart.updated", user = "ada", payload = { total = 40, items = {} } }
--         host:advance "59m"
--         assert.sent(host, 0)
--         host:advance "2m"
--         assert.sent(host, { to = "ada", template = "reminder" })
--       end)
--     end)
--
-- `kairos spec` runs it, with the engine, gate, queues and retries of a live host; `busted FILE` has `kairos spec` run it and
-- shows the results. The assertions are in kairos/spec/assertions.lua.

---@class kairos.SpecHostOptions
---@field rules? string|string[]  "rules/cart_abandoned", a list of such, or "rules" (as without it) for all campaigns
---@field config? table  settings as in config/kairos.yaml, in place of the project's
---@field mode? "live"  as if no campaign were a shadow, paused, or for a share of the users: what it does once it is live
---@field variants? table<string, string>  the variant of an experiment that everybody gets: { subject_line = "urgent" }; "*holdout"
--- holds everybody out
---@field at? string|number  where the clock begins: "2026-11-27 09:00 Europe/Berlin"; Monday 2026-06-01 12:00 UTC unless given

---@class kairos.SpecEvent
---@field type string  the event's type; `event_type` does as well
---@field user? string  whom it is about (`user_id`) …
---@field subject? string  … or what
---@field payload? table<string, any>
---@field metadata? table<string, any>
---@field id? string  made up unless given (`event_id`); one that was there before is a duplicate
---@field at? string|number  when it happened, if not now (`timestamp`)

---@class kairos.SpecMessage
---@field at number  milliseconds since 1970
---@field user string
---@field to string  the address; "" if there is none
---@field campaign string
---@field template string
---@field channel string
---@field provider string
---@field purpose string
---@field message_id string
---@field attempt number  the one that the provider accepted
---@field subject string
---@field headers table<string, string>  front matter, rendered
---@field html string  "" unless the template is HTML
---@field text string
---@field data table<string, any>

---@class kairos.SpecSent
---@field to? string  the user, or the address
---@field template? string
---@field campaign? string
---@field channel? "email"|"sms"|"push"|"webhook"
---@field provider? string
---@field purpose? string
---@field subject? string
---@field subject_has? string  a part of it
---@field text_has? string  a part of the plain text
---@field html_has? string  a part of the HTML
---@field data? table<string, any>  these members
---@field at? string|number  when it went
---@field times? number  exactly so often; at least once unless given

---@class kairos.SpecHeldBack
---@field to? string  the user
---@field template? string
---@field campaign? string
---@field channel? "email"|"sms"|"push"|"webhook"
---@field purpose? string
---@field by? string  what held it back: a check of the gate ("once_per", "suppressed", …), "shadow", "priority" (another
--- campaign went first), or how its delivery ended ("expired", "cancelled", "rejected", "exhausted", "held")
---@field because? string  a part of the answer
---@field at? string|number  when it was decided
---@field waits_until? string|number  of one that waits (quiet hours, a cap): when it goes
---@field times? number

---@class kairos.SpecWhy
---@field to? string  the user
---@field campaign? string
---@field segment? string  each time that it was judged: decision "entered", "left", "in" or "out"
---@field template? string
---@field channel? string
---@field decision? "send"|"skip"|"none"|"failed"|"entered"|"left"|"in"|"out"  "none": the rule ran and asked for no message
---@field because? string  a part of the reason
---@field facts? table<string, any>  what the rule read
---@field checks? table<string, string>  a check of the gate, and a part of its answer
---@field at? string|number
---@field times? number

---@class kairos.SpecFailed
---@field to? string  the user
---@field campaign? string
---@field error_has? string
---@field times? number

---@class kairos.SpecExposed
---@field to? string  the user
---@field experiment? string
---@field variant? string  "*holdout" of who is held out by it, "*host" by the configuration
---@field goal? boolean  whether its goal is reached
---@field value? number  what that was worth
---@field at? string|number  when the user came into it
---@field times? number

---@class luassert
---@field exposed fun(host: kairos.SpecHost, expected: number|kairos.SpecExposed)  users came into experiments
---@field not_exposed fun(host: kairos.SpecHost, unexpected?: kairos.SpecExposed)
---@field sent fun(host: kairos.SpecHost, expected: number|kairos.SpecSent)  so many messages in all, or one like this
---@field not_sent fun(host: kairos.SpecHost, unexpected?: kairos.SpecSent)  none at all, or none like this
---@field held_back fun(host: kairos.SpecHost, expected: number|kairos.SpecHeldBack)  asked for, and not sent, or not yet
---@field not_held_back fun(host: kairos.SpecHost, unexpected?: kairos.SpecHeldBack)
---@field why fun(host: kairos.SpecHost, expected: kairos.SpecWhy)  a rule ran, and this is what it read and what came of it
---@field failed fun(host: kairos.SpecHost, expected: kairos.SpecFailed)  a rule failed; where that is not said, every other
--- assertion about the host fails

local native_found, native = pcall(require, "kairos.native")
if not native_found then
  return require "kairos.spec.plain"
end

local words = require "kairos.spec.words"
local tell = require "kairos.spec.tell"

local spec = {}

--- After so many hosts those that are gone are given back: Lua does not see what they hold.
local HOSTS_A_COLLECTION = 100
local opened = 0

---@class kairos.SpecHost
---@field package id number
---@field package zone string
local Host = {}
Host.__index = function(_, name)
  local method = rawget(Host, name)
  if method == nil then
    words.fail("a host has no `" .. tostring(name) .. "`" .. words.meant(tostring(name), words.keys(Host, "^%l"))
      .. "; there are: " .. table.concat(words.keys(Host, "^%l"), ", "))
  end
  return method
end

--- Call the host's side; what it raises is the caller's fault.
local function ask(what, run, ...)
  local ok, result = pcall(run, ...)
  if not ok then
    words.fail(what .. tostring(result))
  end
  return result
end

--- A fresh host with no users. Its rules are loaded once for all tests of a file.
---@param options? kairos.SpecHostOptions
---@return kairos.SpecHost
function spec.host(options)
  options = options or {}
  words.check_fields("sim.host", options, { "rules", "config", "mode", "at", "variants" }, 'sim.host { rules = "rules/welcome" }')
  local id = ask("sim.host: ", native.sim_host, options)
  opened = opened + 1
  if opened % HOSTS_A_COLLECTION == 0 then
    collectgarbage()
  end
  -- Lua 5.1 tells of userdata alone that it is gone.
  local guard = newproxy(true)
  getmetatable(guard).__gc = function()
    native.sim_close(id)
  end
  local zone = type(options.at) == "string" and options.at:match "%s(%a[%w_/+-]*)%s*$" or "UTC"
  return setmetatable({ id = id, zone = zone, guard = guard, serial = 0, failures_known = {} }, Host)
end

--- What else an event's fields are called.
local envelope = {
  event_id = "event_id", id = "event_id", event_type = "event_type", type = "event_type", user_id = "user_id", user = "user_id",
  subject = "subject", timestamp = "timestamp", at = "timestamp", payload = "payload", metadata = "metadata",
}
local event_fields = { "type", "user", "subject", "payload", "metadata", "id", "at", "event_type", "user_id", "event_id",
  "timestamp" }

--- Something happens, now unless `at` says otherwise. What follows from it at once has happened when this returns.
---@param fields kairos.SpecEvent
---@return "accepted"|"duplicate"
function Host:event(fields)
  words.check_fields("host:event", fields, event_fields, 'host:event { type = "order.completed", user = "ada" }')
  local event = {}
  for name, value in pairs(fields) do
    event[envelope[name]] = value
  end
  if event.event_type == nil then
    words.fail 'host:event needs `type`: write type = "order.completed"'
  elseif (event.user_id == nil) == (event.subject == nil) then
    words.fail 'host:event needs `user` (or `subject`, but not both): write user = "ada"'
  end
  self.serial = self.serial + 1
  event.event_id = event.event_id or ("event-" .. self.serial)
  event.timestamp = event.timestamp and ask("host:event: `at`: ", native.moment, self.id, event.timestamp)
    or native.sim_now(self.id)
  event.payload = event.payload or {}
  return ask("host:event: ", native.sim_event, self.id, event)
end

--- Set attributes of a user's profile, as the event `identify` does.
---@param fields { user: string, [string]: any }
function Host:profile(fields)
  if type(fields) ~= "table" or type(fields.user) ~= "string" then
    words.fail 'host:profile needs `user`: write host:profile { user = "ada", email = "ada@mail.example" }'
  end
  local payload = {}
  for name, value in pairs(fields) do
    if name ~= "user" then
      payload[name] = value
    end
  end
  self:event { type = "identify", user = fields.user, payload = payload }
end

--- Turn the clock forward. Timers, retries and messages that waited for their time go as it passes.
---@param duration string  "2m", "1h30m", "7d"
function Host:advance(duration)
  ask("host:advance: ", native.sim_advance, self.id, duration)
end

--- Turn the clock forward to a moment.
---@param moment string|number  "2026-03-29 02:30 Europe/Berlin"; the configuration's time_zone (UTC) where none is named
function Host:at(moment)
  ask("host:at: ", native.sim_at, self.id, moment)
end

--- The clock, in milliseconds since 1970.
---@return number
function Host:now()
  return native.sim_now(self.id)
end

--- Other rules serve from here on, as after a reload. Journeys under way go on as their `flight` says; nothing that the host
--- knows is lost.
---@param rules string|string[]  as in sim.host: the campaign's folder beside other folders, "spec/versions/2/cart_abandoned"
function Host:reload(rules)
  if type(rules) ~= "string" and type(rules) ~= "table" then
    words.fail 'host:reload needs the rules that serve from now on: host:reload "spec/versions/2/cart_abandoned"'
  end
  ask("host:reload: ", native.sim_reload, self.id, rules)
end

--- How providers answer from now on; they accept unless told otherwise.
---@param answers table<string, "accept"|"timeout"|"bounce"|number>  by channel or provider, "*" all: { email = 500, times = 2 };
--- `times`: so many attempts, then they accept again
function Host:provider(answers)
  if type(answers) ~= "table" then
    words.fail 'host:provider takes a table: host:provider { email = "timeout" }'
  end
  local names = native.sim_names(self.id)
  local known, some = { "times", "*" }, false
  for _, list in ipairs { names.channels, names.providers } do
    for _, name in ipairs(list) do
      known[#known + 1] = name
    end
  end
  for name in pairs(answers) do
    words.check_name("host:provider: there is no channel or provider", name, known)
  end
  for name, answer in pairs(answers) do
    if name ~= "times" then
      ask("host:provider: ", native.sim_provider, self.id, name, answer, answers.times)
      some = true
    end
  end
  if not some then
    words.fail 'host:provider needs a channel: host:provider { email = 500, times = 2 }'
  end
end

--- What a server of the configuration's `lookups` answers to kairos.needs from now on. Unless told, rules fall back.
---@param server string  "shop"
---@param path string  as it is asked, "/stock/K1"; "*" for all that nothing else is said of
---@param answer any  what the JSON of the answer says: { left = 2 }
function Host:lookup(server, path, answer)
  if answer == nil then
    words.fail 'host:lookup needs an answer: host:lookup("shop", "/stock/K1", { left = 2 })'
  end
  ask("host:lookup: ", native.sim_lookup, self.id, server, path, answer)
end

--- The same server fails: rules go by their fallbacks.
---@param server string
---@param path string
---@param how? "timeout"|number  "timeout" (the rule waits its time) or a status such as 503, which is the default
function Host:lookup_fails(server, path, how)
  ask("host:lookup_fails: ", native.sim_lookup_fails, self.id, server, path, how or 503)
end

--- Messages that went out, oldest first.
---@param like? kairos.SpecSent  only these
---@return kairos.SpecMessage[]
function Host:sent(like)
  return require "kairos.spec.assertions".sent(self, like)
end

--- The user's variant of an experiment; nil if he has not come into it. "*holdout" of who is held out.
---@param user string
---@param experiment string
---@return string?
function Host:variant(user, experiment)
  words.check_name("host:variant: there is no experiment", experiment, native.sim_names(self.id).experiments)
  for _, one in ipairs((self:user(user) or {}).experiments or {}) do
    if one.experiment == experiment then
      return one.variant
    end
  end
end

--- What experiments say, as `kairos experiments --json` shows them.
---@param experiment? string  only this
---@return table[]
function Host:experiments(experiment)
  return ask("host:experiments: ", native.sim_experiments, self.id, experiment)
end

--- Every decision, and what became of it, as `kairos why --json` shows them.
---@return table[]
function Host:decisions()
  return native.sim_decisions(self.id)
end

--- Every time a rule ran, as `kairos why --replay --json` shows them.
---@return table[]
function Host:runs()
  return native.sim_runs(self.id)
end

--- Dead letters, as `kairos dead show` shows them.
---@return table[]
function Host:dead()
  return native.sim_dead(self.id)
end

--- What is known of a user, as `kairos user --json` shows it; nil if nothing.
---@param user string
---@return table?
function Host:user(user)
  return ask("host:user: ", native.sim_user, self.id, user)
end

--- The segments that a user is in: by name, since when.
---@param user string
---@return table<string, number>
function Host:segments(user)
  return (self:user(user) or {}).segments or {}
end

--- What happened to a user, or to a thing (`subject`), in words: what a failed assertion prints.
---@param user string
---@return string
function Host:story(user)
  return tell.story(self, user)
end

require "kairos.spec.assertions"

return setmetatable(spec, {
  __index = function(_, name)
    words.fail("kairos.spec has no `" .. tostring(name) .. "`" .. words.meant(tostring(name), { "host" }) .. "; there is: host")
  end,
})
