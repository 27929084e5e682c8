-- What rules may ask of a user: throttles, once, the profile.
local Host = require "spec.functional.support.host"

local SECOND, MINUTE, HOUR, DAY = 1000, 60 * 1000, 3600 * 1000, 86400 * 1000

local function rule(name, head, act)
  return ([[
local kairos = require "kairos"
%s
local function say(user, ...)
  local words = {}
  for index = 1, select("#", ...) do words[index] = tostring((select(index, ...))) end
  user:send { channel = "push", template = "said", data = { text = table.concat(words, " ") } }
end
return kairos.rule { name = "%s", on = "%s", act = function(event, user) %s end }
]]):format(head, name, name, act)
end

describe("a rule's", function()
  local host
  setup(function()
    host = Host.start { rules = {
      throttled = rule("throttled", 'local often = kairos.throttle { name = "often", rate = "3/1h" }',
        'say(user, event.payload.step, user:allow(often))'),
      bursting = rule("bursting", 'local often = kairos.throttle { name = "bursts", rate = "60/1h", burst = 2 }',
        'say(user, event.payload.step, user:allow(often))'),
      marked = rule("marked", "", 'say(user, event.payload.step, user:once(event.payload.key, "1d"))'),
      remembering = rule("remembering", "", [[
        for name, value in pairs(event.payload.set or {}) do user:set(name, value) end
        if event.payload.forget then user:set(event.payload.forget, nil) end
        say(user, event.payload.step, user.first_name, type(user.age), user.age, user.vip, user.tags and user.tags[2])]]),
    } }
  end)
  teardown(function() host:remove() end)

  local function steps(kind, user, times, fields)
    local list = {}
    for index, at in ipairs(times) do
      local payload = { step = index }
      for name, value in pairs(fields or {}) do payload[name] = value end
      list[index] = { type = kind, user = user, at = at, payload = payload }
    end
    host:accept(unpack(list))
    return host:said(user, #times)
  end

  describe("throttle", function()
    it("lets the rate pass and no more, and opens again as time goes", function()
      local now = Host.now() - DAY
      assert.same({ "1 true", "2 true", "3 true", "4 false", "5 false", "6 true", "7 false" },
        steps("throttled", "abe", { now, now, now, now, now + 19 * MINUTE, now + 20 * MINUTE, now + 20 * MINUTE }))
    end)

    it("lets a burst pass at once and then one at a time", function()
      local now = Host.now() - DAY
      assert.same({ "1 true", "2 true", "3 false", "4 false", "5 true", "6 false" },
        steps("bursting", "ben", { now, now, now, now + 59 * SECOND, now + 60 * SECOND, now + 61 * SECOND }))
    end)

    it("is each user's own", function()
      local now = Host.now() - DAY
      steps("throttled", "eve", { now, now, now, now })
      assert.same({ "1 true" }, steps("throttled", "fay", { now }))
    end)

    it("survives a power cut", function()
      local now = Host.now() - HOUR
      steps("throttled", "gus", { now, now, now })
      host:kill()
      host:run()
      host:accept { type = "throttled", user = "gus", at = now + 1, payload = { step = 4 } }
      assert.same({ "1 true", "2 true", "3 true", "4 false" }, host:said("gus", 4))
    end)
  end)

  describe("once", function()
    it("is true the first time in a time, for each key", function()
      local now = Host.now() - 3 * DAY
      assert.same({ "1 true", "2 false", "3 false", "4 true" },
        steps("marked", "ada", { now, now, now + DAY - 1, now + DAY }, { key = "offer" }))
      host:accept { type = "marked", user = "ada", at = now, payload = { step = 9, key = "other" } }
      assert.equal("9 true", host:said("ada", 5)[5])
    end)

    it("survives a restart", function()
      local now = Host.now() - HOUR
      steps("marked", "bea", { now }, { key = "offer" })
      host:restart()
      host:accept { type = "marked", user = "bea", at = now + 1, payload = { step = 2, key = "offer" } }
      assert.same({ "1 true", "2 false" }, host:said("bea", 2))
    end)
  end)

  describe("subject", function()
    it("has windows, marks and attributes as a user has, and nobody to write to", function()
      local subjects = Host.start { rules = { stock = rule("stock", 'local sold = kairos.window { of = "stock", over = "1d" }', [[
        user:set("sold", user:count(sold))
        if user.sold == 2 and user:once("twice", "1d") then user:set("twice", true) end
        if event.payload.tell then say(user, "nobody") end]]) } }
      finally(function() subjects:remove() end)
      subjects:accept({ type = "stock", subject = "kettle" }, { type = "stock", subject = "kettle" },
        { type = "stock", user = "kettle" }, { type = "stock", subject = "kettle", payload = { tell = true } })
      local letter = subjects:dead(1)[1]
      assert.equal("kettle", letter.subject)
      assert.truthy(letter.error:find("nobody to write to", 1, true), letter.error)
      assert.equal(1, subjects:ask("user", "kettle").attributes.sold)
      assert.same({}, subjects:messages())
    end)
  end)

  describe("profile", function()
    it("is what identify events and rules say, with its types", function()
      host:accept({ type = "identify", user = "ida", payload = { first_name = "Ida", age = 36, vip = true } },
        { type = "remembering", user = "ida", payload = { step = 1 } },
        { type = "remembering", user = "ida", payload = { step = 2, set = { age = 37, tags = { "a", "b" } } } },
        { type = "remembering", user = "ida", payload = { step = 3, forget = "vip" } })
      assert.same({ "1 Ida number 36 true nil", "2 Ida number 37 true b", "3 Ida number 37 nil b" }, host:said("ida", 3))
    end)

    it("is one user's own, and empty at first", function()
      host:accept { type = "remembering", user = "new", payload = { step = 1 } }
      assert.same({ "1 nil nil nil nil nil" }, host:said "new")
    end)

    it("survives a power cut", function()
      host:accept({ type = "identify", user = "joy", payload = { first_name = "Joy" } })
      host:kill()
      host:run()
      host:accept { type = "remembering", user = "joy", payload = { step = 1 } }
      assert.same({ "1 Joy nil nil nil nil" }, host:said "joy")
    end)

    it("refuses what does not fit, by name, and keeps what is there", function()
      local novels = {}
      for index = 1, 40 do novels["novel_" .. index] = ("x"):rep(3000) end
      host:accept({ type = "identify", user = "max", payload = { first_name = "Max" } },
        { type = "remembering", user = "max", payload = { step = 1, set = novels } },
        { type = "remembering", user = "max", payload = { step = 2 } })
      assert.same({ "2 Max nil nil nil nil" }, host:said "max")
      assert.truthy(host:dead(1)[1].error:find("novel", 1, true))
    end)
  end)
end)
