-- kairos.needs: look-ups that a rule waits for, at a server that answers, dawdles, lies or is gone.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local cjson = require "cjson"
local process = require "spec.functional.support.process"
local socket = require "socket"

--- A rule that says what it was given: "left state [why]".
local function stock_rule(declaration, more)
  return ([[
local kairos = require "kairos"
local views = kairos.window { of = "product.viewed", over = "1h" }
return kairos.rule {
  name = "stock",
  on = "product.viewed",
  needs = { stock = kairos.needs { from = "shop", %s, fallback = { left = 0 } } },
  when = function(event, user, needs) return needs.stock.left < 3 end,
  act = function(event, user, needs)
    %s
    user:send { channel = "push", template = "said",
      data = { text = needs.stock.left .. " " .. needs.stock_state .. (needs.stock_why and " " .. needs.stock_why or "")
        .. " views " .. user:count(views) } }
  end,
}
]]):format(declaration, more or "")
end

local at_once = [[
local kairos = require "kairos"
return kairos.rule {
  name = "at_once",
  on = "product.viewed",
  act = function(event, user) user:send { channel = "push", template = "said", data = { text = "at once" } } end,
}
]]

local BY_SKU = 'path = "/stock/{{payload.sku}}"'

local function json(body, more)
  local order = { status = 200, headers = { ["Content-Type"] = "application/json" }, body = cjson.encode(body) }
  for name, value in pairs(more or {}) do order[name] = value end
  return order
end

describe("a rule with needs", function()
  local host, sink

  local function start(options)
    options = options or {}
    local shop = { name = "shop", url = sink.url:gsub("/hook$", "") }
    for name, value in pairs(options.shop or {}) do shop[name] = value end
    local config = { lookups = { shop } }
    for name, value in pairs(options.config or {}) do config[name] = value end
    host = Host.start {
      rules = options.rules or { stock = stock_rule(options.declaration or BY_SKU) }, config = config, env = options.env,
    }
    return host
  end
  local function view(user, sku, more)
    local fields = { type = "product.viewed", user = user, payload = { sku = sku or "K1" } }
    for name, value in pairs(more or {}) do fields[name] = value end
    host:accept(fields)
  end

  --- Rules on disk are other ones now.
  local function reload()
    local result = host:command "reload"
    assert.equal(0, result.status, result.out .. result.err)
  end

  before_each(function()
    sink = Sink.start()
    sink:answer { default = json { left = 2 } }
  end)
  after_each(function()
    if host then host:remove() end
    sink:remove()
    host = nil
  end)

  describe("and a server that answers", function()
    it("runs on the answer, with the record as it then is; the event's other rules have run at once", function()
      start { rules = { stock = stock_rule(BY_SKU), at_once = at_once } }
      sink:answer { default = { act = "hold" } }
      view "ada"
      assert.same({ "at once" }, host:said("ada", 1))
      sink:answer { default = json { left = 2 } }
      assert.same({ "2 fresh views 1", "at once" }, host:said("ada", 2))
      local request = sink:requests()[1]
      assert.equal("GET", request.method)
      assert.equal("/stock/K1", request.path)
      assert.equal("application/json", request.headers.accept)
      assert.is_nil(request.headers["content-type"])
      assert.is_nil(request.headers["content-length"])
    end)

    it("sees each answer when it is there, also on a connection that stands already", function()
      start { declaration = BY_SKU .. ', timeout = "30s"' }
      for index = 1, 8 do
        view("ada", "K" .. index)
        assert.equal(index, #host:said("ada", index))
        assert.equal(index, #host:messages())
      end
    end)

    it("does not run if its `when` says no to the answer", function()
      start()
      sink:answer { next = { json { left = 7 } }, default = json { left = 1 } }
      view "ada"
      sink:await(1)
      view("ada", "K2")
      assert.same({ "1 fresh views 2" }, host:said "ada")
    end)

    it("fills the path in from event and profile, escaped", function()
      start { declaration = 'path = "/s/{{payload.sku}}/{{ user.city }}?of={{user.id}}&at={{event.payload.at.shop}}"' }
      host:accept { type = "identify", user = "ada o", payload = { city = "Köln/Süd?" } }
      host:accept { type = "product.viewed", user = "ada o", payload = { sku = "a b&../c", at = { shop = 7.5 } } }
      host:said "ada o"
      assert.equal("/s/a%20b%26..%2Fc/K%C3%B6ln%2FS%C3%BCd%3F?of=ada%20o&at=7.5", sink:requests()[1].path)
    end)

    it("sends the secret in its header", function()
      start { shop = { secret_env = "KAIROS_TEST_LOOKUP" }, env = { KAIROS_TEST_LOOKUP = "s3cret" } }
      view "ada"
      host:said "ada"
      assert.equal("Bearer s3cret", sink:requests()[1].headers.authorization)
      host:remove()
      start { shop = { secret_env = "KAIROS_TEST_LOOKUP", header = "X-Api-Key" }, env = { KAIROS_TEST_LOOKUP = "s3cret" } }
      view "bob"
      host:said "bob"
      assert.equal("s3cret", sink:requests()[2].headers["x-api-key"])
    end)

    it("asks only about the events that are worth it, and says so", function()
      start { rules = { picky = [[
local kairos = require "kairos"
local views = kairos.window { of = "product.viewed", over = "1h" }
return kairos.rule {
  name = "picky", on = "product.viewed",
  needs = { stock = kairos.needs { from = "shop", path = "/stock", fallback = { left = 0 } } },
  needs_if = function(event, user)
    if event.payload.bad then error "needs_if failed" end
    return user:count(views) == 2
  end,
  act = function(event, user, needs) user:send { channel = "push", template = "said", data = { text = needs.stock_state } } end,
}]] } }
      for _ = 1, 3 do view "ada" end
      assert.same({ "fresh" }, host:said "ada")
      assert.equal(1, #sink:requests())
      local replay = host:ask("why", "ada", "--replay")
      assert.equal("its `needs_if` said no: nothing was asked", replay[1].reason)
      assert.equal(1, replay[1].facts["count product.viewed 1h"])
      view("bob", "K1", { payload = { bad = true } })
      local letter = host:dead(1)[1]
      assert.truthy(letter.error:find("needs_if failed", 1, true))
      assert.equal(1, #sink:requests())
    end)

    it("may have several needs, and goes on when all are there", function()
      start { rules = { both = [[
local kairos = require "kairos"
local function of(path, fallback) return kairos.needs { from = "shop", path = path, timeout = "600ms", fallback = fallback } end
return kairos.rule {
  name = "both", on = "product.viewed",
  needs = {
    stock = of("/stock/{{payload.sku}}", { left = 0 }), price = of("/price", { cents = -1 }), city = of("/c/{{user.city}}", "none"),
  },
  act = function(event, user, needs)
    local text = ("%d %s %d %s %s: %s"):format(needs.stock.left, needs.stock_state, needs.price.cents, needs.price_state,
      needs.city, needs.city_why)
    user:send { channel = "push", template = "said", data = { text = text } }
  end,
}]] } }
      sink:answer { paths = { ["/stock/K1"] = json { left = 5 }, ["/price"] = { act = "hang" } } }
      view "ada"
      assert.same({ "5 fresh -1 fallback none: there is no user.city" }, host:said "ada")
    end)

    it("gets tables that nobody can write, as deep as they come", function()
      start { rules = { deep = [[
local kairos = require "kairos"
return kairos.rule {
  name = "deep", on = "product.viewed",
  needs = { stock = kairos.needs { from = "shop", path = "/stock", fallback = {} } },
  act = function(event, user, needs)
    local text = tostring(needs.stock.shops[2].city) .. #needs.stock.shops .. tostring(needs.stock.none)
    local ok, why = pcall(function() needs.stock.shops[1].city = "x" end)
    user:send { channel = "push", template = "said", data = { text = text .. tostring(ok), answer = needs.stock } }
  end,
}]] } }
      sink:answer { default = json { shops = { { city = "Bonn" }, { city = "Ulm" } } } }
      view "ada"
      assert.same({ "Ulm2nilfalse" }, host:said "ada")
    end)
  end)

  describe("goes by its fallback, and says why, when", function()
    local function falls_back(why, user)
      user = user or "ada"
      view(user)
      assert.same({ "0 fallback " .. why .. " views 1" }, host:said(user))
    end

    it("the server is too slow; the event was accepted at once", function()
      start { declaration = BY_SKU .. ', timeout = "300ms"' }
      sink:answer { default = { act = "hang" } }
      falls_back "there was no answer in time"
      assert.equal(1, host:metric("kairos_needs_fallback_total", 'source="shop",reason="timeout"'))
    end)
    it("nobody listens there; then its breaker leaves it alone, until it is back", function()
      start { shop = { breaker_failures = 3, breaker_open = "500ms" } }
      sink:stop()
      for i = 1, 3 do falls_back("the server could not be asked: Connection refused", "u" .. i) end
      falls_back("the server failed too often of late, and is left alone", "u4")
      assert.equal("open", host:ask("status").lookups.shop.breaker)
      local back = Sink.start { port = sink.port }
      back:answer { default = json { left = 2 } }
      local number = 0
      local said = process.eventually(10 * Host.patience, function()
        number = number + 1
        view("back" .. number)
        return host:said("back" .. number)[1] == "2 fresh views 1"
      end)
      assert.truthy(said)
      assert.equal("closed", host:ask("status").lookups.shop.breaker)
      back:remove()
    end)
    it("it hangs up", function()
      start()
      sink:answer { default = { act = "close" } }
      view "ada"
      assert.truthy(host:said("ada")[1]:find("^0 fallback the server could not be asked: "))
    end)
    it("it answers with an error, or elsewhere", function()
      start()
      sink:answer { next = { { status = 500 }, { status = 404 },
        { status = 302, headers = { Location = sink.url:gsub("/hook", "/elsewhere") } } } }
      falls_back("the server answered 500", "u1")
      falls_back("the server answered 404", "u2")
      falls_back("the server answered 302; redirects are not followed", "u3")
      assert.equal(3, #sink:requests())
    end)
    it("the answer is no JSON, or says that it is none", function()
      start()
      local html = { status = 200, body = "{}", headers = { ["Content-Type"] = "text/html" } }
      sink:answer { next = { json(nil, { body = '{"left":' }), html, json(nil, { body = "" }) } }
      view "u1"
      assert.truthy(host:said("u1")[1]:find("^0 fallback the answer is not JSON: "))
      falls_back('the answer is no JSON but "text/html"', "u2")
      view "u3"
      assert.truthy(host:said("u3")[1]:find("^0 fallback the answer is not JSON: "))
    end)
    it("it is larger than 64 KB, or than any memory", function()
      start()
      sink:answer { next = { json(nil, { size = 64 * 1024 + 1 }), json(nil, { size = 10 * 1024 * 1024 }) } }
      falls_back("the answer is larger than 64 KB", "u1")
      falls_back("the answer is larger than 64 KB", "u2")
    end)
    it("it lacks what the fallback has, or has it otherwise", function()
      start()
      sink:answer { next = { json {}, json { left = "2" }, json "2", json { 2 }, json { left = 2, more = {} } } }
      falls_back("the answer's left is missing, the fallback's a number", "u1")
      falls_back("the answer's left is a text, the fallback's a number", "u2")
      falls_back("the answer is a text, the fallback a table", "u3")
      falls_back("the answer is a list, the fallback a table", "u4")
      view "u5"
      assert.same({ "2 fresh views 1" }, host:said "u5")
    end)
    it("a placeholder has no value, or one that leads elsewhere: nobody is asked", function()
      start()
      view("ada", {})
      assert.same({ "0 fallback there is no payload.sku views 1" }, host:said "ada")
      view("bob", "..")
      assert.same({ '0 fallback the path would have a segment "." or ".." views 1' }, host:said "bob")
      view("cem", ("x"):rep(3000))
      assert.same({ "0 fallback payload.sku is longer than 2048 bytes views 1" }, host:said "cem")
      view("dan", "")
      assert.same({ "0 fallback there is no payload.sku views 1" }, host:said "dan")
      assert.same({}, sink:requests())
    end)
    it("too many wait already: nothing else waits for them", function()
      start { config = { needs = { waiting = 5 } }, declaration = BY_SKU .. ', timeout = "20s"' }
      sink:answer { default = { act = "hang" } }
      local events = {}
      for i = 1, 40 do events[i] = { type = "product.viewed", user = "u" .. i, payload = { sku = "K" .. i } } end
      host:accept(unpack(events))
      local messages = host:await_messages(35)
      assert.equal(35, #messages)
      for _, message in ipairs(messages) do
        assert.equal("0 fallback too many look-ups wait views 1", message.body)
      end
      assert.equal(5, host:metric "kairos_needs_waiting")
      assert.equal(35, host:metric("kairos_needs_fallback_total", 'source="shop",reason="crowded"'))
    end)
    it("too many of one user's events wait, or the event is too large to wait with", function()
      start { declaration = BY_SKU .. ', timeout = "20s"' }
      sink:answer { default = { act = "hang" } }
      view("big", "K1", { payload = { sku = "K1", text = ("x"):rep(17 * 1024) } })
      assert.same({ "0 fallback the event is larger than 16KB, too large to wait with views 1" }, host:said "big")
      for i = 1, 16 do view("ada", "K" .. i) end
      view("ada", "K17")
      assert.same({ "0 fallback 16 of the user's events wait for answers already views 17" }, host:said "ada")
    end)
  end)

  describe("and a cache", function()
    it("asks once for as long as it may, whoever asks", function()
      start { declaration = BY_SKU .. ', cache = "1m"' }
      view "ada"
      assert.same({ "2 fresh views 1" }, host:said "ada")
      sink:answer { default = json { left = 1 } }
      view "bob"
      assert.same({ "2 cached views 1" }, host:said "bob")
      view("cem", "K2")
      assert.same({ "1 fresh views 1" }, host:said "cem")
      assert.equal(2, #sink:requests())
      assert.equal(1, host:metric("kairos_needs_total", 'source="shop",state="cached"'))
    end)
    it("keeps failures for a moment only", function()
      start { declaration = BY_SKU .. ', cache = "1m"' }
      sink:answer { next = { { status = 500 } }, default = json { left = 2 } }
      view "ada"
      view "bob"
      assert.same({ "0 fallback the server answered 500 views 1" }, host:said "ada")
      assert.same({ "0 fallback the server answered 500 views 1" }, host:said "bob")
      local number = 0
      assert.truthy(process.eventually(10, function()
        number = number + 1
        view("u" .. number)
        return host:said("u" .. number)[1] == "2 fresh views 1"
      end))
      assert.equal(2, #sink:requests())
    end)
    it("asks the same at once but once, without one too", function()
      start()
      sink:answer { default = { act = "hold" } }
      local events = {}
      for i = 1, 100 do events[i] = { type = "product.viewed", user = "u" .. i, payload = { sku = "K1" } } end
      host:accept(unpack(events))
      sink:await(1)
      sink:answer { default = json { left = 2 } }
      assert.equal(100, #host:await_messages(100))
      assert.equal(1, #sink:requests())
      assert.equal(100, host:metric("kairos_needs_total", 'source="shop",state="fresh"'))
    end)
  end)

  describe("that waits", function()
    it("does not hold up the user's other events, and is judged at its own event's time", function()
      start { declaration = BY_SKU .. ', timeout = "10s"', rules = nil }
      sink:answer { paths = { ["/stock/K1"] = { act = "hold" } }, default = json { left = 1 } }
      local now = Host.now()
      view("ada", "K1", { at = now - 2000 })
      sink:await(1)
      view("ada", "K2", { at = now - 1000 })
      view("ada", "K3", { at = now })
      assert.same({ "1 fresh views 2", "1 fresh views 3" }, host:said("ada", 2))
      sink:answer { default = json { left = 2 } }
      assert.same({ "1 fresh views 2", "1 fresh views 3", "2 fresh views 1" }, host:said("ada", 3))
    end)

    it("sees what was set while it waited", function()
      start { rules = { late = [[
local kairos = require "kairos"
return kairos.rule {
  name = "late", on = "product.viewed",
  needs = { stock = kairos.needs { from = "shop", path = "/stock", timeout = "10s", fallback = { left = 0 } } },
  act = function(event, user, needs)
    user:send { channel = "push", template = "said", data = { text = tostring(user.city) } }
  end,
}]] } }
      sink:answer { default = { act = "hold" } }
      view "ada"
      host:accept { type = "identify", user = "ada", payload = { city = "Ulm" } }
      sink:await(1)
      sink:answer { default = json { left = 2 } }
      assert.same({ "Ulm" }, host:said "ada")
    end)

    it("is shown among the user's timers, and `why --replay` gives what it was given", function()
      start { declaration = BY_SKU .. ', timeout = "10s"' }
      sink:answer { default = { act = "hold" } }
      view("ada", "K1", { id = "e1" })
      sink:await(1)
      local timers = host:ask("user", "ada").timers
      assert.equal("needs:e1", timers[1].name)
      assert.equal("/stock/K1", timers[1].data.asks[1].path)
      sink:answer { default = json { left = 2 } }
      host:said "ada"
      assert.same({}, host:ask("user", "ada").timers)
      local why = host:ask("why", "ada")[1]
      assert.equal("e1", why.cause)
      assert.equal(2, why.facts["needs.stock"].left)
      assert.equal("fresh", why.facts["needs.stock_state"])
      sink:answer { default = json { left = 99 } }
      local replay = host:ask("why", "ada", "--replay")
      local ran = replay[#replay]
      assert.equal("send", ran.decision)
      assert.same(why.facts, ran.facts)
      assert.equal(1, #sink:requests())
    end)

    it("is asked for again after kill -9, once", function()
      start { declaration = BY_SKU .. ', timeout = "20s"' }
      sink:answer { next = { { act = "hang" } }, default = json { left = 2 } }
      view "ada"
      sink:await(1)
      host:kill()
      host:run()
      assert.same({ "2 fresh views 1" }, host:said "ada")
      assert.equal(2, #sink:requests())
      host:kill()
      host:run()
      socket.sleep(0.3)
      assert.same({ "2 fresh views 1" }, host:said "ada")
      assert.equal(2, #sink:requests())
      assert.same({}, host:dead(0))
    end)

    for _, moment in ipairs { "lookup.asked", "lookup.found", "lookup.settled" } do
      it("takes effect once when the host dies at " .. moment, function()
        start { declaration = BY_SKU .. ', timeout = "20s"' }
        host:kill()
        host:run { KAIROS_FAILPOINTS = moment .. "=kill" }
        pcall(view, "ada") -- it may be gone before it answers
        assert.equal("signal 9", host.process:wait(10))
        host:run()
        assert.same({ "2 fresh views 1" }, host:said "ada")
        host:kill()
        host:run()
        socket.sleep(0.3)
        assert.same({ "2 fresh views 1" }, host:said "ada")
        assert.equal(1, #host:ask("why", "ada"))
        assert.same({}, host:dead(0))
      end)
    end

    it("takes effect once when the log fails meanwhile", function()
      start { declaration = BY_SKU .. ', timeout = "20s"' }
      host:kill()
      host:run { KAIROS_FAILPOINTS = "log.fsync=error@2" }
      sink:answer { default = { act = "hold" } }
      view "ada"
      sink:await(1)
      local answer = host:post(Host.event { type = "other", user = "bob" })
      assert.equal(503, answer.status)
      assert.is_true(host:ready())
      sink:answer { default = json { left = 2 } }
      assert.same({ "2 fresh views 1" }, host:said "ada")
      assert.equal(1, host:metric "kairos_recoveries")
      assert.equal(1, #host:ask("why", "ada"))
    end)

    it("leaves its place to another when the log fails as it begins to wait", function()
      start { config = { needs = { waiting = 1 } }, declaration = BY_SKU .. ', timeout = "20s"' }
      host:kill()
      host:run { KAIROS_FAILPOINTS = "log.fsync=error@1*2" }
      sink:answer { default = json { left = 2 } }
      -- None of it is durable: it is as if it had never come.
      for _ = 1, 2 do
        assert.equal(503, host:post(Host.event { type = "product.viewed", user = "ada", payload = { sku = "K1" } }).status)
        assert.is_true(host:ready())
      end
      view "bob"
      assert.same({ "2 fresh views 1" }, host:said "bob")
      assert.truthy(process.eventually(10 * Host.patience, function() return host:metric "kairos_needs_waiting" == 0 end))
    end)

    it("goes on without an answer if the host comes back too late", function()
      start { declaration = BY_SKU .. ', timeout = "400ms"' }
      sink:answer { default = { act = "hang" } }
      view "ada"
      sink:await(1)
      host:kill()
      socket.sleep(2.5)
      host:run()
      assert.same({ "0 fallback there was no answer in time: the host was not running views 1" }, host:said "ada")
      assert.equal(1, #sink:requests())
    end)

    it("does not hold up the host's end, and is asked for again after it", function()
      start { declaration = BY_SKU .. ', timeout = "20s"' }
      sink:answer { next = { { act = "hang" } }, default = json { left = 2 } }
      view "ada"
      sink:await(1)
      assert.equal(0, host:stop(5))
      host:run()
      assert.same({ "2 fresh views 1" }, host:said "ada")
    end)

    it("runs as the rules are when the answer comes", function()
      start { declaration = BY_SKU .. ', timeout = "20s"' }
      sink:answer { default = { act = "hold" } }
      view "ada"
      sink:await(1)
      local files = require "spec.functional.support.files"
      files.write(host.rules .. "/stock/rule.lua", (stock_rule(BY_SKU):gsub('" views "', '" seen "')))
      reload()
      sink:answer { default = json { left = 2 } }
      assert.same({ "2 fresh seen 1" }, host:said "ada")
    end)

    it("that fails is a dead letter with its answer, and is retried with it", function()
      start { declaration = BY_SKU }
      local files = require "spec.functional.support.files"
      files.write(host.rules .. "/stock/rule.lua", stock_rule(BY_SKU, 'error "not today"'))
      reload()
      view("ada", "K1", { id = "e7" })
      local letter = host:dead(1)[1]
      local shown = host:ask("dead", "show", letter.id)
      assert.equal("e7", shown.cause)
      assert.equal(2, shown.input.needs.stock.left)
      sink:answer { default = json { left = 99 } }
      files.write(host.rules .. "/stock/rule.lua", stock_rule(BY_SKU))
      reload()
      assert.equal(0, host:command("dead", "retry", letter.id).status)
      assert.same({ "2 fresh views 1" }, host:said "ada")
      assert.equal(1, #sink:requests())
      assert.same({}, host:dead(0))
    end)
  end)

  describe("is checked:", function()
    local function rule(needs, when, act)
      return ([[
local kairos = require "kairos"
return kairos.rule {
  on = "product.viewed",
  needs = { %s },
  when = %s,
  act = %s,
}
]]):format(needs, when or "function(event, user, needs) return needs.stock.left < 3 end",
        act or "function(event, user) user:set('x', 1) end")
    end
    local good = 'stock = kairos.needs { from = "shop", path = "/s/{{payload.sku}}", fallback = { left = 0 } }'
    local function declared(fields) return rule("stock = kairos.needs { " .. fields .. " }") end

    for name, mistake in pairs {
      ["a server that is none"] = { declared 'from = "shup", path = "/s", fallback = { left = 0 }',
        '4:44: error: kairos.needs: no server of the configuration is called "shup"; did you mean `shop`?; there are: shop' },
      ["an address that no server covers"] = { declared 'url = "http://10.0.0.1/s", fallback = { left = 0 }',
        '4:43: error: kairos.needs: no server of the configuration covers "http://10.0.0.1/s"; there are: shop' },
      ["a placeholder that is none"] = { declared 'from = "shop", path = "/s/{{sku}}", fallback = { left = 0 }',
        "kairos.needs: `path` asks for {{sku}}; there are {{payload.…}}" },
      ["no fallback"] = { declared 'from = "shop", path = "/s"', "error: kairos.needs needs `fallback`" },
      ["a path without a server"] = { declared 'path = "/s", fallback = { left = 0 }', "kairos.needs needs `from` and `path`" },
      ["a time-out that is too long"] = { declared 'from = "shop", path = "/s", timeout = "5m", fallback = { left = 0 }',
        "kairos.needs: `timeout` may be from 10ms to 30s" },
      ["a need that is not declared"] = { rule(good, "function(event, user, needs) return needs.stok.left < 3 end"),
        "5:52: error: the rule has no need `stok`; write stock" },
      ["needs that nobody handed over"] = { rule(good, nil, "function(event, user) user:set('x', needs.stock.left) end"),
        "error: there is no `needs` here; it is handed to `when` and `act` of a rule with needs: function(event, user, needs)" },
      ["a condition without needs"] = { "local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', "
        .. "needs_if = function(event) return event.payload.y end, act = function(event, user) user:set('x', 1) end }",
        "kairos.rule: `needs_if` says when to ask for `needs`, and there are none" },
      ["a name that the host uses"] = { rule(good:gsub("^stock", "stock_state"), "function() return true end"),
        "must not end a name in _state or _why" },
    } do
      it(name, function()
        start()
        local files = require "spec.functional.support.files"
        files.write(host.directory .. "/suspects/suspect/rule.lua", mistake[1])
        local result = host:command("check", "--rules", host.directory .. "/suspects")
        assert.equal(1, result.status)
        assert.truthy(result.err:find(mistake[2], 1, true), result.err)
        local problems = select(2, result.err:gsub("rule%.lua:[%d:]* %l+: ", ""))
        assert.equal(1, problems, result.err)
      end)
    end
  end)

  describe("on a virtual clock", function()
    local files = require "spec.functional.support.files"

    it("goes by what a spec says that look-ups answer, and asks nobody", function()
      start { declaration = BY_SKU .. ', timeout = "5s"' }
      files.write(host.directory .. "/spec/rules/stock_spec.lua", [=[
local sim = require "kairos.spec"
describe("stock", function()
  local host
  before_each(function() host = sim.host { rules = "stock" } end)
  local function view(sku) host:event { type = "product.viewed", user = "ada", payload = { sku = sku } } end
  it("is told", function()
    host:lookup("shop", "/stock/K1", { left = 2 })
    view "K1"
    assert.sent(host, { to = "ada", text_has = "2 fresh views 1" })
    assert.why(host, { to = "ada", facts = { ["needs.stock_state"] = "fresh" } })
  end)
  it("falls back", function()
    host:lookup("shop", "*", { left = 2 })
    host:lookup_fails("shop", "/stock/K2", 503)
    host:lookup_fails("shop", "/stock/K3", "timeout")
    view "K2"
    assert.sent(host, { text_has = "0 fallback the server answered 503" })
    view "K3"
    assert.sent(host, 1)
    view "K4"
    assert.sent(host, { text_has = "2 fresh views 3" })
    host:advance "6s"
    assert.sent(host, { text_has = "0 fallback there was no answer in time" })
    assert.sent(host, 3)
  end)
  it("falls back where nothing was said", function()
    view "K9"
    assert.sent(host, { text_has = "0 fallback nobody is asked here, and nothing was said that it answers" })
  end)
  it("knows its servers", function()
    assert.has_error(function() host:lookup("shup", "/", 1) end)
  end)
  it("tells its story", function()
    host:lookup("shop", "*", { left = 1 })
    view "K1"
    print(host:story "ada")
  end)
end)
]=])
      local result = host:command("spec", host.directory .. "/spec/rules/stock_spec.lua")
      assert.equal(0, result.status, result.out .. result.err)
      assert.same({}, sink:requests())
    end)

    it("goes by its fallback when an event is only tried", function()
      start()
      local result = host:command("repl", "--eval", 'try { type = "product.viewed", user = "ada", payload = { sku = "K1" } }')
      assert.equal(0, result.status, result.err)
      assert.truthy(result.out:find("0 fallback a trial asks nobody views 1", 1, true), result.out)
      assert.same({}, sink:requests())
    end)

    it("goes by what `simulate` is given, or falls back", function()
      start()
      local events, lookups = host.directory .. "/events.ndjson", host.directory .. "/lookups.json"
      files.write(events, Host.ndjson {
        Host.event { id = "e1", type = "product.viewed", user = "ada", payload = { sku = "K1" }, at = 1700000000000 },
        Host.event { id = "e2", type = "product.viewed", user = "bob", payload = { sku = "K2" }, at = 1700000000500 },
      })
      files.write(lookups, '{"shop": {"/stock/K1": {"left": 9}}}')
      local function simulate(...)
        local result = host:command("simulate", "--events", events, ...)
        local users = {}
        for user in result.out:gmatch '"user_id":"(%w+)"' do users[#users + 1] = user end
        return users, result
      end
      assert.same({ "ada", "bob" }, (simulate()))
      assert.same({ "bob" }, (simulate("--lookups", lookups)))
      files.write(lookups, '{"shup": {}}')
      assert.same({ "ada", "bob" }, (simulate("--lookups", lookups)))
      for text, complaint in pairs {
        ['{"shup": {"/a": 1}}'] = 'the configuration has no look-up server "shup"',
        ["[]"] = "it must be an object of servers",
        ['{"shop": 1}'] = '"shop" must be an object of paths',
        ["{"] = "lookups.json: ",
      } do
        files.write(lookups, text)
        local _, result = simulate("--lookups", lookups)
        assert.equal(1, result.status)
        assert.truthy(result.err:find(complaint, 1, true), result.err)
      end
      assert.same({}, sink:requests())
    end)
  end)

  it("asks over TLS, and only a server whose certificate is trusted", function()
    local files = require "spec.functional.support.files"
    local directory = files.temporary()
    finally(function() files.remove(directory) end)
    process.shell(("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s/cert.pem -days 2 -subj /CN=localhost "
      .. "-addext subjectAltName=IP:127.0.0.1 2>/dev/null"):format(directory, directory))
    sink:remove()
    sink = Sink.start { certificate = directory .. "/cert.pem", key = directory .. "/key.pem" }
    sink:answer { default = json { left = 2 } }
    start { shop = { ca_file = directory .. "/cert.pem" } }
    view "ada"
    assert.same({ "2 fresh views 1" }, host:said "ada")
    host:remove()
    start()
    view "bob"
    assert.truthy(host:said("bob")[1]:find "^0 fallback the server could not be asked: SSL")
    assert.equal(1, #sink:requests())
  end)

  it("asks a server no faster than its rate", function()
    start { shop = { rate = "10/s" }, declaration = BY_SKU .. ', timeout = "10s"' }
    local events = {}
    for i = 1, 6 do events[i] = { type = "product.viewed", user = "u" .. i, payload = { sku = "K" .. i } } end
    host:accept(unpack(events))
    local requests = sink:await(6)
    assert.is_true(requests[6].at - requests[1].at >= 480)
  end)

  it("asks a server by no more requests at once than it may", function()
    start { shop = { concurrency = 2 }, declaration = BY_SKU .. ', timeout = "10s"' }
    sink:answer { default = json({ left = 2 }, { delay = 200 }) }
    local events = {}
    for i = 1, 8 do events[i] = { type = "product.viewed", user = "u" .. i, payload = { sku = "K" .. i } } end
    host:accept(unpack(events))
    sink:await(2)
    local shop = host:ask("status").lookups.shop
    assert.is_true(shop.in_flight <= 2)
    assert.equal(8, #host:await_messages(8))
    local connections = {}
    for _, request in ipairs(sink:requests()) do connections[request.connection] = true end
    assert.equal(2, (function() local count = 0 for _ in pairs(connections) do count = count + 1 end return count end)())
  end)
end)
