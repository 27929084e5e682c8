-- From decision to provider: files, webhooks, SendGrid; retries and what becomes of them.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"
local socket = require "socket"

local telling = [[
local kairos = require "kairos"
return kairos.rule {
  name = "telling",
  on = "tell",
  act = function(event, user)
    local p = event.payload
    user:send { channel = p.channel or "webhook", template = p.template or "said", data = p, to = p.to }
  end,
}
]]

local offer = [[
---
subject: "Grüße an {{name}}: <{{total}}> & more"
from: "Shop <hello@shop.example>"
---
<h1>Hello {{name}}</h1>
{{#items}}<p>{{quantity}} × {{title}}</p>
{{/items}}{{^items}}<p>Nothing.</p>{{/items}}
{{> foot}}
]]

local rules = { telling = {
  ["rule.lua"] = telling, ["letter.html"] = offer, ["foot.html"] = "<p>Written for {{first_name}}</p>",
  ["said.json"] = '{"text": "{{text}}"}',
} }

describe("the file provider", function()
  local host
  setup(function() host = Host.start { rules = rules } end)
  teardown(function() host:remove() end)

  it("writes an e-mail that a mail program reads", function()
    host:accept({ type = "identify", user = "ada", payload = { first_name = "Ada", email = "ada@shop.example" } },
      { type = "tell", user = "ada", payload = { channel = "email", template = "letter", name = "A <b>", total = 5,
        items = { { quantity = 2, title = "Käse & Brot" } } } })
    local message = host:await_messages(1)[1]
    assert.truthy(message.file:find "%.eml$")
    assert.equal("ada@shop.example", message.headers.to)
    assert.equal("Shop <hello@shop.example>", message.headers.from)
    assert.truthy(message.headers.date)
    assert.truthy(message.headers["message-id"])
    assert.truthy(message.headers["mime-version"])
    assert.truthy(message.headers.subject)
    for line in (message.raw .. "\n"):gmatch "(.-)\r?\n" do
      assert.is_true(#line <= 998, "a line longer than mail allows")
      if line == "" then break end
      assert.falsy(line:find "[\128-\255]", "bytes that are not ASCII in a header")
    end
    local text = message.body:gsub("=\r?\n", ""):gsub("=(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
    assert.truthy(text:find("Hello A &lt;b&gt;", 1, true), "HTML is escaped")
    assert.truthy(text:find("2 × Käse &amp; Brot", 1, true))
    assert.truthy(text:find("Written for Ada", 1, true), "a partial, and a name from the profile")
  end)

  it("does not let data add headers", function()
    host:accept({ type = "identify", user = "eve", payload = { first_name = "E", email = "eve@shop.example" } },
      { type = "tell", user = "eve", payload = { channel = "email", template = "letter",
        name = "x\r\nBcc: all@shop.example\r\n\r\nbody", total = 1 } })
    host:await_messages(2)
    for _, message in ipairs(host:messages()) do assert.is_nil(message.headers and message.headers.bcc) end
  end)

  it("writes to the address that the profile or the rule names", function()
    host:accept({ type = "identify", user = "pia", payload = { phone = "+4912345", push_token = "tok-1" } },
      { type = "tell", user = "pia", payload = { channel = "sms", text = "a" } },
      { type = "tell", user = "pia", payload = { channel = "push", text = "b" } },
      { type = "tell", user = "pia", payload = { channel = "sms", text = "c", to = "+4967890" } })
    local to
    process.eventually(5 * Host.patience, function()
      to = {}
      for _, message in ipairs(host:messages()) do
        if message.user_id == "pia" then to[#to + 1] = message.channel .. " " .. message.to end
      end
      return #to == 3
    end)
    table.sort(to)
    assert.same({ "push tok-1", "sms +4912345", "sms +4967890" }, to)
  end)

  it("writes JSON for other channels", function()
    host:accept { type = "tell", user = "bob", payload = { channel = "sms", text = 'say "hi"' } }
    local found
    process.eventually(5, function()
      for _, message in ipairs(host:messages()) do
        if message.user_id == "bob" then found = message end
      end
      return found
    end)
    assert.equal("sms", found.channel)
    assert.equal("telling", found.campaign)
    assert.equal("said", found.template)
    assert.truthy(found.file:find "%.json$")
  end)
end)

describe("a webhook", function()
  local host, sink
  local key = ("k"):rep(32)
  local secret = "whsec_" .. process.shell("printf %s " .. key .. " | base64 -w0")

  local function start(account, more, failpoints)
    local provider = { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET",
      backoff_base = "20ms", backoff_max = "200ms", timeout = "500ms" }
    for name, value in pairs(account or {}) do provider[name] = value end
    local config = { providers = { provider }, routes = { webhook = "hook" } }
    for name, value in pairs(more or {}) do config[name] = value end
    host = Host.start { rules = rules, env = { HOOK_SECRET = secret, KAIROS_FAILPOINTS = failpoints or "" }, config = config }
  end
  before_each(function() sink = Sink.start() end)
  after_each(function()
    host:remove()
    sink:remove()
  end)

  local function tell(...)
    local list = {}
    for index, user in ipairs { ... } do list[index] = { type = "tell", user = user, payload = { text = "to " .. user } } end
    host:accept(unpack(list))
  end

  it("is a POST of JSON, signed as Standard Webhooks, with an idempotency key", function()
    start()
    tell "ada"
    local request = sink:await(1)[1]
    assert.equal("POST", request.method)
    assert.equal("/hook", request.path)
    assert.truthy(request.headers["content-type"]:find "application/json")
    assert.truthy(request.json)
    assert.truthy(request.body:find("to ada", 1, true))
    local id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert.equal(id, request.headers["idempotency-key"])
    assert.is_true(math.abs(tonumber(at) - os.time()) < 60)
    local directory = files.temporary()
    files.write(directory .. "/signed", id .. "." .. at .. "." .. request.body)
    local expected = process.shell(("openssl dgst -sha256 -hmac %s -binary %s/signed | base64 -w0"):format(key, directory))
    files.remove(directory)
    assert.equal("v1," .. expected, request.headers["webhook-signature"])
  end)

  it("goes out once, whatever else happens afterwards", function()
    start()
    tell("ada", "bob", "cid")
    assert.equal(3, #sink:await(3))
    host:restart()
    host:kill()
    host:run()
    tell "dan"
    assert.equal(4, #sink:await(4))
    socket.sleep(0.3)
    assert.equal(4, #sink:requests())
  end)

  it("is tried again with the same bytes under the same key", function()
    start()
    sink:answer { next = { { status = 500 }, { status = 503 }, { status = 429 } }, default = { status = 200 } }
    tell "ada"
    local requests = sink:await(4)
    assert.equal(4, #requests)
    for index = 2, 4 do
      assert.equal(requests[1].body, requests[index].body)
      assert.equal(requests[1].headers["idempotency-key"], requests[index].headers["idempotency-key"])
    end
    socket.sleep(0.3)
    assert.equal(4, #sink:requests())
    assert.same({}, host:dead())
  end)

  it("is tried again across a restart, with the same bytes under the same key", function()
    start { backoff_base = "1s", backoff_max = "1s" }
    sink:answer { next = { { status = 500 } }, default = { status = 200 } }
    tell "ada"
    sink:await(1)
    socket.sleep(0.1)
    host:kill()
    host:run()
    local requests = sink:await(2)
    assert.equal(2, #requests)
    assert.equal(requests[1].body, requests[2].body)
    assert.equal(requests[1].headers["idempotency-key"], requests[2].headers["idempotency-key"])
  end)

  it("waits as long as Retry-After says", function()
    start()
    sink:answer { next = { { status = 429, headers = { ["Retry-After"] = "2" } } }, default = { status = 200 } }
    tell "ada"
    local requests = sink:await(2)
    assert.equal(2, #requests)
    local waited = requests[2].at - requests[1].at
    assert.is_true(waited >= 1950 and waited < 4000 * Host.patience, tostring(waited))
  end)

  it("is given up after the attempts that the account allows, and lies with the dead letters", function()
    start { attempts = 3 }
    sink:answer { default = { status = 500 } }
    tell "ada"
    local letters = host:dead(1)
    assert.equal(1, #letters)
    assert.equal("message", letters[1].kind)
    assert.equal("exhausted", letters[1].outcome)
    assert.equal("telling", letters[1].campaign)
    assert.truthy(letters[1].detail:find "500")
    assert.equal(3, #sink:requests())
    assert.equal(letters[1].id, host:ask("dead", "show", letters[1].id).id)
  end)

  it("is given up past its age", function()
    start { attempts = 1000, max_age = "1s", backoff_base = "100ms", backoff_max = "100ms" }
    sink:answer { default = { status = 500 } }
    tell "ada"
    assert.equal("exhausted", host:dead(1)[1].outcome)
    local requests = sink:requests()
    assert.is_true(requests[#requests].at - requests[1].at <= 1300)
  end)

  it("is not tried again after a refusal", function()
    start()
    sink:answer { default = { status = 400, body = "no such thing" } }
    tell "ada"
    assert.equal("rejected", host:dead(1)[1].outcome)
    assert.equal(1, #sink:requests())
  end)

  it("is said to have been sent as often as it was, and not as often as that was to be", function()
    start({ attempts = 2 }, nil, "deliver.attempt_durable=error@1*3")
    sink:answer { default = { status = 500 } }
    local stream = look.connect(host, { command = "tail", events = false })
    tell "ada"
    local letter = host:dead(1)[1]
    assert.equal(2, #sink:requests())
    local decision = host:ask("why", "ada", "telling")[1]
    assert.equal(5, #decision.attempts)
    for _, told in ipairs { letter, host:ask("dead", "show", letter.id), decision.outcomes[5] } do
      assert.equal("exhausted", told.outcome)
      assert.equal(5, told.attempt)
      assert.equal(3, told.unsent)
    end
    for attempt = 1, 5 do
      local line
      repeat line = stream:receive() until line.what == "outcome"
      assert.equal(attempt, line.attempt)
      assert.equal(math.min(attempt, 3), line.unsent)
    end
    stream:close()
  end)

  it("goes again from the dead letters, under the same key", function()
    start { attempts = 1 }
    sink:answer { next = { { status = 500 } }, default = { status = 200 } }
    tell "ada"
    local letter = host:dead(1)[1]
    assert.equal(0, host:command("dead", "retry", letter.id).status)
    local requests = sink:await(2)
    assert.equal(2, #requests)
    assert.equal(requests[1].headers["idempotency-key"], requests[2].headers["idempotency-key"])
    assert.equal(requests[1].body, requests[2].body)
    assert.truthy(process.eventually(5, function() return #host:dead() == 0 end))
  end)

  it("is gone when it is dropped from them", function()
    start { attempts = 1 }
    sink:answer { default = { status = 500 } }
    tell("ada", "bob")
    local letters = host:dead(2)
    assert.equal(0, host:command("dead", "drop", letters[1].id).status)
    assert.equal(1, #host:dead())
    assert.equal(0, host:command("dead", "drop", "--all").status)
    assert.same({}, host:dead())
    host:restart()
    assert.same({}, host:dead())
  end)

  describe("whose answer never came", function()
    it("is sent again under the same key, because webhooks carry keys", function()
      start { timeout = "200ms" }
      sink:answer { next = { { act = "close" }, { act = "hang" } }, default = { status = 200 } }
      tell "ada"
      local requests = sink:await(3)
      assert.equal(3, #requests)
      assert.equal(requests[1].headers["idempotency-key"], requests[3].headers["idempotency-key"])
      assert.equal(requests[1].body, requests[3].body)
    end)

    it("though it is there when the host, which had stood still, goes on, is read", function()
      start { timeout = "4s", attempts = 1 }
      sink:answer { next = { { act = "hold" } } }
      tell "ada"
      assert.equal(1, #sink:await(1))
      host.process:signal "STOP"
      sink:answer {}
      socket.sleep(5) -- past the timeout
      host.process:signal "CONT"
      local outcomes
      assert.truthy(process.eventually(10 * Host.patience, function()
        outcomes = host:ask("why", "ada")[1].outcomes
        return outcomes and #outcomes > 0
      end))
      assert.equal("accepted", outcomes[1].outcome, outcomes[1].detail)
    end)

    it("because the host died is sent again under the same key after the start", function()
      start { timeout = "10s" }
      sink:answer { next = { { act = "hang" } }, default = { status = 200 } }
      tell "ada"
      sink:await(1)
      host:kill()
      host:run()
      local requests = sink:await(2)
      assert.equal(2, #requests)
      assert.equal(requests[1].headers["idempotency-key"], requests[2].headers["idempotency-key"])
      assert.equal(requests[1].body, requests[2].body)
    end)
  end)

  it("whose provider is down waits until it is back", function()
    start { breaker_failures = 3, breaker_open = "300ms", attempts = 100 }
    local port = sink.port
    sink:stop()
    tell("ada", "bob")
    socket.sleep(0.5)
    sink:remove()
    sink = Sink.start { port = port }
    assert.equal(2, #sink:await(2))
  end)

  it("opens a breaker, which spares a failing provider, and closes it when it is well", function()
    start { breaker_failures = 3, breaker_open = "800ms", attempts = 100, concurrency = 1 }
    sink:answer { default = { status = 500 } }
    local list = {}
    for index = 1, 20 do list[index] = "user-" .. index end
    tell(unpack(list))
    socket.sleep(0.7)
    assert.is_true(#sink:requests() <= 5, #sink:requests() .. " requests while the breaker should be open")
    sink:answer { default = { status = 200 } }
    local accepted = function()
      local users = {}
      for _, request in ipairs(sink:requests()) do
        if request.answered == 200 then users[request.headers["idempotency-key"]] = true end
      end
      local count = 0
      for _ in pairs(users) do count = count + 1 end
      return count
    end
    assert.truthy(process.eventually(15 * Host.patience, function() return accepted() == 20 end))
  end)

  it("of a slow provider delays no other", function()
    local slow = Sink.start()
    finally(function() slow:remove() end)
    slow:answer { default = { status = 200, delay = 3000 } }
    start(nil, {
      providers = {
        { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" },
        { name = "slow", type = "webhook", url = slow.url, secret_env = "HOOK_SECRET", concurrency = 2 },
      },
      routes = { webhook = "hook", push = "slow" },
    })
    local list = {}
    for index = 1, 50 do
      list[#list + 1] = { type = "tell", user = "s" .. index, payload = { text = "slow", channel = "push" } }
      list[#list + 1] = { type = "tell", user = "f" .. index, payload = { text = "fast" } }
    end
    local began = socket.gettime()
    host:accept(unpack(list))
    assert.equal(50, #sink:await(50))
    assert.is_true(socket.gettime() - began < 1.5 * Host.patience)
    assert.is_true(#slow:requests() <= 2)
  end)

  describe("over TLS", function()
    local directory
    before_each(function()
      directory = files.temporary()
      process.shell(("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s/cert.pem -days 2 -subj /CN=localhost "
        .. "-addext subjectAltName=IP:127.0.0.1 2>/dev/null"):format(directory, directory))
      sink:remove()
      sink = Sink.start { certificate = directory .. "/cert.pem", key = directory .. "/key.pem" }
    end)
    after_each(function() files.remove(directory) end)

    it("goes to a receiver whose certificate the account trusts", function()
      start { ca_file = directory .. "/cert.pem" }
      tell "ada"
      assert.equal(1, #sink:await(1))
    end)

    it("does not go to one whose certificate nobody vouches for", function()
      start { attempts = 2 }
      tell "ada"
      assert.equal("exhausted", host:dead(1)[1].outcome)
      assert.equal(0, #sink:requests())
    end)
  end)

  it("keeps connections", function()
    start { concurrency = 2 }
    for index = 1, 10 do
      tell("user-" .. index)
      sink:await(index)
    end
    local links = {}
    for _, request in ipairs(sink:requests()) do links[request.connection] = true end
    local count = 0
    for _ in pairs(links) do count = count + 1 end
    assert.is_true(count <= 2, count .. " connections for ten requests")
  end)
end)

describe("sendgrid", function()
  local host, sink
  before_each(function()
    sink = Sink.start()
    host = Host.new { rules = rules, env = { SENDGRID_KEY = "SG.secret" }, config = {
      providers = { { name = "sg", type = "sendgrid", url = sink.url:gsub("/hook$", "/v3/mail/send"), secret_env = "SENDGRID_KEY",
        timeout = "300ms", backoff_base = "20ms", backoff_max = "50ms" } },
      routes = { email = "sg" },
    } }
  end)
  after_each(function()
    host:remove()
    sink:remove()
  end)

  local function tell()
    host:accept({ type = "identify", user = "ada", payload = { first_name = "Ada", email = "ada@shop.example" } },
      { type = "tell", user = "ada", payload = { channel = "email", template = "letter", name = "Ada", total = 3 } })
  end

  it("gets a v3 mail/send", function()
    sink:answer { default = { status = 202, headers = { ["X-Message-Id"] = "sg-77" } } }
    host:run()
    tell()
    local request = sink:await(1)[1]
    assert.equal("POST", request.method)
    assert.equal("/v3/mail/send", request.path)
    assert.equal("Bearer SG.secret", request.headers.authorization)
    local mail = request.json
    assert.equal("ada@shop.example", mail.personalizations[1].to[1].email)
    assert.same({ email = "hello@shop.example", name = "Shop" }, mail.from)
    assert.equal("Grüße an Ada: <3> & more", mail.subject or mail.personalizations[1].subject)
    local kinds = {}
    for index, part in ipairs(mail.content) do kinds[index] = part.type end
    assert.same({ "text/plain", "text/html" }, kinds)
    assert.truthy(mail.content[2].value:find("Hello Ada", 1, true))
    assert.truthy(process.eventually(5, function() return host:command("why", "ada", "--json").out:find("sg-77", 1, true) end))
  end)

  it("tries again after 429 and 5xx, and gives up after 4xx", function()
    sink:answer { next = { { status = 429 }, { status = 503 }, { status = 401, body = cjson.encode { errors = {} } } } }
    host:run()
    tell()
    assert.equal(3, #sink:await(3))
    assert.equal("rejected", host:dead(1)[1].outcome)
    assert.equal(3, #sink:requests())
  end)

  it("is not asked again where the answer never came, unless the account says so: it knows no keys", function()
    sink:answer { next = { { act = "close" } }, default = { status = 202 } }
    host:run()
    tell()
    assert.equal("held", host:dead(1)[1].outcome)
    assert.equal(1, #sink:requests())
    local outcomes = host:ask("why", "ada")[1].outcomes
    assert.equal("held", outcomes[#outcomes].outcome)
  end)

  it("is asked again where the account says resend", function()
    host.config.providers[1].ambiguous = "resend"
    host:rewrite_config()
    sink:answer { next = { { act = "hang" } }, default = { status = 202 } }
    host:run()
    tell()
    assert.equal(2, #sink:await(2))
    socket.sleep(0.2)
    assert.same({}, host:dead())
  end)

  it("never has its key said", function()
    sink:answer { default = { status = 401 } }
    host:run()
    tell()
    sink:await(1)
    socket.sleep(0.2)
    assert.falsy((host:output() .. host:get("/metrics").body .. host:command("why", "ada").out):find("SG.secret", 1, true))
  end)
end)
