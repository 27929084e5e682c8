-- Tell those who have used a service in the last 30 days that it is down, and when it works again those whom we told. By email, and
-- by SMS too where there is a number and it is day. It is no advertising: it needs no consent and passes caps; but what comes an
-- hour late is of no use, and who has not been told before the end is told nothing.
local kairos = require "kairos"

local date = kairos.date

local WEEK = 7 * 24 * 3600 * 1000 -- milliseconds

local users = kairos.interest { name = "service_users", of = "service.used", by = "payload.service", over = "30d" }

--- Whom it is about.
local function affected(event)
  local service = event.payload.service
  return type(service) == "string" and users:of(service) or nil
end

--- What a user knows of a service's last incident: { incident, told }. A shop that does not number its incidents has one.
local function known(event, user)
  local last = (user.outages or {})[event.payload.service] or {}
  return last.incident == (event.payload.incident or "") and last or {}
end

--- Keep what he knows, and what he knows of other services.
local function note(event, user, told)
  local outages = {}
  for service, last in pairs(user.outages or {}) do
    outages[service] = last
  end
  outages[event.payload.service] = { incident = event.payload.incident or "", told = told, over = not told }
  user:set("outages", outages)
end

--- When it began; as far as the shop says.
local function since_of(event)
  local since = event.payload.since
  return type(since) == "number" and math.abs(event.timestamp - since) < WEEK and since or event.timestamp
end

--- "14:05", where the customer lives, of another day "Tuesday 14:05"; nil if it is no moment of this week.
local function clock(ms, user)
  if type(ms) == "number" and math.abs(ms - kairos.now()) < WEEK then
    local moment = date(ms, user)
    return moment:format(moment:format "%F" == date(kairos.now(), user):format "%F" and "%R" or "%A %R")
  end
end

--- When it will be over, as far as the shop says; a time that has passed is none.
local function expected_of(event, user)
  local expected = event.payload.expected
  return type(expected) == "number" and expected > kairos.now() and clock(expected, user) or nil
end

--- As customers know the service.
local function title_of(outage)
  return type(outage.title) == "string" and outage.title or outage.service
end

--- By email, and by SMS as well while it is day there.
local function tell(user, template, data)
  user:send {
    channel = "email", template = template, data = data, purpose = "transactional", expires_in = "1h", limit = "2000/1m",
  }
  if user.phone and date.is_open(kairos.now(), "daily 08:00-21:00", user) then
    user:send {
      channel = "sms", template = template .. "_sms", data = data, purpose = "transactional", expires_in = "30m", limit = "600/1m",
    }
  end
end

return {
  kairos.rule {
    name       = "service_outage",
    on         = "service.outage",
    priority   = 100,
    for_each   = affected,
    pace       = "1000/s",
    expires_in = "1h",
    when       = function(event, user)
      local last = known(event, user) -- each is told once, and not at all once it is over
      return not last.told and (not last.over or event.payload.incident == nil)
    end,
    act        = function(event, user)
      local outage = event.payload
      note(event, user, true)
      tell(user, "down", {
        title = title_of(outage), since = clock(since_of(event), user), expected = expected_of(event, user),
      })
    end,
  },
  kairos.rule {
    name       = "service_restored",
    on         = "service.restored",
    priority   = 100,
    for_each   = affected,
    pace       = "1000/s",
    expires_in = "2h",
    act        = function(event, user)
      local outage = event.payload
      local told = known(event, user).told
      note(event, user, false)
      if told then
        tell(user, "back", {
          title = title_of(outage), lasted = date.words(math.max(event.timestamp - since_of(event), 0)),
        })
      end
    end,
  },
}
