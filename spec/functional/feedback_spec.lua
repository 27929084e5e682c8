-- What providers report of messages: signed webhooks to /v1/feedback/PROVIDER become events.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"

--- Thanks who opens or clicks, and writes to whom it may.
local campaign = [[
local kairos = require "kairos"
local opened = kairos.window { of = "message.opened", over = "1d" }
return {
  kairos.rule { name = "thanks", on = "message.clicked",
    act = function(event, user)
      user:send { channel = "sms", template = "said", data = { text = "seen " .. user:count(opened) .. ", went to "
        .. event.payload.url } }
    end },
}
]]

local directory, host
local key = ("k"):rep(32)

local function shell(command) return process.shell(command) end

local function hmac(secret, id, at, body)
  files.write(directory .. "/signed", ("%s.%s.%s"):format(id, at, body))
  return "v1," .. shell(("openssl dgst -sha256 -hmac %s -binary %s/signed | base64 -w0"):format(secret, directory))
end

local function ecdsa(file, at, body)
  files.write(directory .. "/signed", at .. body)
  return shell(("openssl dgst -sha256 -sign %s %s/signed | base64 -w0"):format(file, directory))
end

local function report(path, body, headers)
  headers["Content-Type"] = headers["Content-Type"] or "application/json"
  return host:request { method = "POST", path = "/v1/feedback/" .. path, body = body, headers = headers }
end

--- The headers of a webhook's report, signed as it should be but for what `changes` says.
local function claim(body, changes)
  changes = changes or {}
  local at = changes.at or os.time()
  return {
    ["webhook-id"] = "m1",
    ["webhook-timestamp"] = tostring(at),
    ["webhook-signature"] = changes.signature or "v1,older " .. hmac(changes.key or key, "m1", at, body),
  }
end

local function webhook(reports, changes)
  changes = changes or {}
  local body = cjson.encode(reports)
  return report(changes.account or "crm", changes.body or body, claim(body, changes))
end

local function sendgrid(reports, changes)
  changes = changes or {}
  local body, at = cjson.encode(reports), changes.at or os.time()
  return report("mail", changes.body or body, {
    ["X-Twilio-Email-Event-Webhook-Signature"] = ecdsa(directory .. "/" .. (changes.key or "key.pem"), at, body),
    ["X-Twilio-Email-Event-Webhook-Timestamp"] = tostring(at),
  })
end

local function suppressed(user)
  local answer = host:ask("user", user)
  local channels = {}
  for _, suppression in ipairs(answer and answer.suppressions or {}) do channels[suppression.channel] = suppression.reason end
  return channels
end

describe("what a provider reports", function()
  setup(function()
    directory = files.temporary()
    for _, name in ipairs { "key.pem", "other.pem" } do
      shell(("openssl ecparam -name prime256v1 -genkey -noout -out %s/%s"):format(directory, name))
    end
    local public = shell(("openssl ec -in %s/key.pem -pubout -outform DER 2>/dev/null | base64 -w0"):format(directory))
    host = Host.start {
      rules = { thanks = { ["rule.lua"] = campaign, ["said.txt"] = "{{text}}" } },
      env = { CRM = "whsec_" .. shell("printf %s " .. key .. " | base64 -w0"), MAIL = "SG.key", SHOP = "SG.other" },
      config = {
        api_keys = { { name = "shop", key_env = "SHOP" } },
        providers = {
          { name = "crm", type = "webhook", url = "http://127.0.0.1:1/", secret_env = "CRM" },
          { name = "mail", type = "sendgrid", secret_env = "MAIL", feedback_key = public },
          { name = "quiet", type = "sendgrid", secret_env = "MAIL" },
        },
      },
    }
  end)
  teardown(function()
    host:remove()
    files.remove(directory)
  end)

  it("comes as events, each once, by the receiver's signature alone", function()
    local now = Host.now()
    local reports = {
      { id = "r1", type = "message.bounced", user = "ada", timestamp = now, data = { channel = "sms" } },
      { id = "r2", type = "message.unsubscribed", user = "bob", timestamp = now },
      { id = "r3", type = "order.completed", user = "eve", timestamp = now },
    }
    local answer = webhook(reports)
    assert.equal(202, answer.status, answer.body)
    assert.equal(2, answer.json.accepted)
    assert.truthy(suppressed("ada").sms)
    assert.falsy(suppressed("ada").email)
    assert.truthy(next(suppressed "bob"))
    answer = webhook(reports)
    assert.same({ 202, 0, 2 }, { answer.status, answer.json.accepted, answer.json.duplicates })
    assert.equal(401, host:post(Host.event { type = "message.bounced", user = "ada" }).status, "events ask for a key")
  end)

  it("comes from SendGrid's Event Webhook, and rules hear it", function()
    local at = os.time()
    local function said(event, id, more)
      local one = { event = event, sg_event_id = id, message_id = "m", user = "cid", timestamp = at, email = "cid@mail.example" }
      for name, value in pairs(more or {}) do one[name] = value end
      return one
    end
    host:request { body = Host.json { Host.event { type = "identify", user = "cid", payload = { phone = "+491234" } } },
      headers = { ["X-Api-Key"] = "SG.other" } }
    local answer = sendgrid { said("open", "s1"), said("processed", "s2"), said("spamreport", "s3"),
      said("click", "s4", { url = "https://shop.example/x" }), { event = "open", sg_event_id = "not ours" } }
    assert.equal(202, answer.status, answer.body)
    assert.equal(3, answer.json.accepted)
    assert.truthy(suppressed("cid").email)
    local message = host:await_messages(1)[1]
    assert.equal("seen 1, went to https://shop.example/x", message.body)
  end)

  it("silences the user for a bounce of the address that is his, and of no other", function()
    local function bounce(user, id, more)
      local one = { event = "bounce", sg_event_id = id, message_id = "m", user = user, timestamp = os.time() }
      for name, value in pairs(more) do one[name] = value end
      return one
    end
    for _, user in ipairs { "dora", "emil", "finn" } do
      host:request { body = Host.json { Host.event { type = "identify", user = user,
        payload = { email = user .. "@mail.example" } } }, headers = { ["X-Api-Key"] = "SG.other" } }
    end
    assert.equal(5, sendgrid({ bounce("dora", "b1", { email = "friend@mail.example" }),
      bounce("emil", "b2", { email = "Emil@Mail.example" }), bounce("finn", "b3", {}),
      bounce("gina", "b4", { email = "gina@mail.example" }),
      bounce("hans", "b5", { event = "spamreport", email = "old@mail.example" }),
    }).json.accepted)
    assert.is_nil(suppressed("dora").email)
    for _, user in ipairs { "emil", "finn", "gina" } do assert.equal("bounced", suppressed(user).email) end
    assert.equal("complained", suppressed("hans").email)
    local now = Host.now()
    local full = { id = "t1", type = "message.bounced", timestamp = now, user = "ivan", data = { bounce_type = "Transient" } }
    assert.equal(1, webhook({ full }).json.accepted)
    assert.same({}, suppressed "ivan")
  end)

  it("comes from SendGrid for as long as it tries, and as dedup knows what came before", function()
    local reports = { { event = "open", sg_event_id = "late", message_id = "m", user = "fay", timestamp = os.time() } }
    local answer = sendgrid(reports, { at = os.time() - 24 * 3600 + 60 })
    assert.same({ 202, 1 }, { answer.status, answer.json.accepted }, answer.body)
    answer = sendgrid(reports)
    assert.same({ 202, 1 }, { answer.status, answer.json.duplicates }, answer.body)
  end)

  it("is answered well where none of it concerns the host, for otherwise it came again", function()
    local answer = sendgrid { { event = "open", sg_event_id = "x" } }
    assert.same({ 200, 0 }, { answer.status, answer.json.accepted })
  end)

  it("says which report is none, and takes the others", function()
    local answer = webhook { { id = "r7", type = "message.opened", user = "ada", timestamp = Host.now() },
      { id = "r8", type = "message.opened", user = "ada" } }
    assert.same({ 202, 1 }, { answer.status, answer.json.accepted })
    assert.same({ 1, "/timestamp" }, { answer.json.rejected[1].index, answer.json.rejected[1].pointer })
    answer = sendgrid { { event = "open", sg_event_id = "far", message_id = "m", user = "gus", timestamp = 1e308 },
      { event = "open", sg_event_id = "near", message_id = "m", user = "gus", timestamp = os.time() } }
    assert.same({ 202, 1 }, { answer.status, answer.json.accepted }, answer.body)
    assert.same({ 0, "/timestamp" }, { answer.json.rejected[1].index, answer.json.rejected[1].pointer })
  end)

  it("is taken however late it comes, once, for it is not sent again when it is refused", function()
    local reports = {
      { event = "unsubscribe", sg_event_id = "old", message_id = "m", user = "hal", timestamp = os.time() - 40 * 24 * 3600 },
      { event = "open", sg_event_id = "new", message_id = "m", user = "hal", timestamp = os.time() },
    }
    local answer = sendgrid(reports)
    assert.same({ 202, 2, {} }, { answer.status, answer.json.accepted, answer.json.rejected }, answer.body)
    assert.truthy(next(suppressed "hal"))
    answer = sendgrid(reports)
    assert.same({ 202, 2 }, { answer.status, answer.json.duplicates }, answer.body)
    -- A client's clock is another matter.
    answer = host:request {
      body = Host.json { Host.event { user = "hal", at = Host.now() - 40 * 24 * 3600 * 1000 } },
      headers = { ["X-Api-Key"] = "SG.other" },
    }
    assert.same({ 400, "/timestamp" }, { answer.status, answer.json.rejected[1].pointer }, answer.body)
  end)

  it("is named in the log where it is refused, for no provider reads of it", function()
    sendgrid { { event = "open", sg_event_id = "n1", message_id = "m", user = "ida", timestamp = os.time() },
      { event = "open", sg_event_id = "n2", message_id = "m", user = "ida", timestamp = 1e308 },
      { event = "open", sg_event_id = "n3", message_id = "m", user = "ida", timestamp = -1e308 } }
    local line = 'msg="reports were refused, and are lost" provider=mail count=2 pointer=/timestamp first="is out of range'
    assert.truthy(process.eventually(5 * Host.patience, function() return host:output():find(line, 1, true) end))
  end)

  it("is refused where anybody could have sent it", function()
    local reports = { { id = "r9", type = "message.unsubscribed", user = "dan", timestamp = Host.now() } }
    local refused = {
      forged = webhook(reports, { key = ("x"):rep(32) }),
      changed = webhook(reports, { body = cjson.encode { reports[1], reports[1] } }),
      old = webhook(reports, { at = os.time() - 3600 }),
      ["of no time"] = webhook(reports, { at = "1e9" }),
      unsigned = report("crm", cjson.encode(reports), {}),
      ["cut short"] = webhook(reports, { signature = "v1," }),
      ["forged SendGrid"] = sendgrid(reports, { key = "other.pem" }),
      ["changed SendGrid"] = sendgrid(reports, { body = "[]" }),
      ["old SendGrid"] = sendgrid(reports, { at = os.time() - 24 * 3600 - 1 }),
      ["SendGrid of a time to come"] = sendgrid(reports, { at = os.time() + 3600 }),
      ["SendGrid of no time"] = sendgrid(reports, { at = "1e9" }),
      ["unsigned SendGrid"] = report("mail", "[]", {}),
    }
    for name, answer in pairs(refused) do
      assert.equal(401, answer.status, name .. ": " .. answer.body)
      assert.truthy(answer.json.error, name)
    end
    assert.same({}, suppressed "dan")
    assert.truthy(host:metric("kairos_feedback_total", 'provider="crm",signature="bad"') >= 6)
  end)

  it("is not there for accounts whose reports cannot be checked, nor for none", function()
    for _, account in ipairs { "quiet", "files", "nobody", "crm/more" } do
      local answer = webhook({}, { account = account })
      assert.equal(404, answer.status, account)
      assert.truthy(answer.json.error:find "feedback_key", account)
    end
    assert.equal(404, report("", "[]", {}).status)
    assert.equal(405, host:get("/v1/feedback/crm").status)
  end)

  it("is refused as it is where it is no JSON", function()
    local at = os.time()
    local answer = report("crm", "{", { ["webhook-id"] = "m1", ["webhook-timestamp"] = tostring(at),
      ["webhook-signature"] = hmac(key, "m1", at, "{") })
    assert.equal(400, answer.status)
    assert.truthy(answer.json.error:find "no JSON")
    local headers = claim "[]"
    headers["Content-Type"] = "text/plain"
    assert.equal(415, report("crm", "[]", headers).status)
  end)
end)

describe("what a provider reports to a host that has no room for all of it", function()
  setup(function()
    directory = files.temporary()
    host = Host.start {
      env = { CRM = key },
      config = { workers = 1, ingest = { queue = 10 },
        providers = { { name = "crm", type = "webhook", url = "http://127.0.0.1:1/", secret_env = "CRM" } } },
    }
  end)
  teardown(function()
    host:remove()
    files.remove(directory)
  end)

  it("is asked for again until all is taken, each report once", function()
    local reports, events = {}, {}
    for index = 1, 8 do
      reports[index] = { id = "r" .. index, type = "message.bounced", user = "user-" .. index, timestamp = Host.now() }
      events[index] = Host.event { user = "other-" .. index }
    end
    local body = cjson.encode(reports)
    -- In one piece, so that the events are in the queue when the reports come.
    local link = host:connect()
    link:send(http.request_bytes { body = Host.json(events) } ..
      http.request_bytes { path = "/v1/feedback/crm", body = body, headers = claim(body) })
    local first, answer = link:answer(), link:answer()
    link:close()
    assert.same({ 202, 8 }, { first.status, first.json.accepted })
    assert.same({ 429, 2 }, { answer.status, answer.json.accepted }, answer.body)
    assert.is_true(tonumber(answer.headers["retry-after"]) >= 1)
    answer = webhook(reports)
    assert.same({ 202, 6, 2 }, { answer.status, answer.json.accepted, answer.json.duplicates }, answer.body)
    for index = 1, 8 do assert.truthy(suppressed("user-" .. index).email, index) end
  end)
end)
