-- Provider mappings are pure: they run in any Lua. From the project's root: busted spec/lua
package.path = "lua/?.lua;" .. package.path

local function message(changes)
  local made = {
    id = "0123456789abcdef0123456789abcdef",
    user = "ada",
    campaign = "cart",
    template = "reminder",
    channel = "email",
    to = "ada@example.org",
    data = { total = 5 },
    headers = { subject = "Hello" },
    body = "<p>hi</p>",
    text = "hi",
    accepted_at = "2026-11-20T09:12:00.000Z",
  }
  for name, value in pairs(changes or {}) do
    made[name] = value
  end
  return made
end

local function response(status, changes)
  local made = { status = status, headers = {}, body = "" }
  for name, value in pairs(changes or {}) do
    made[name] = value
  end
  return made
end

describe("webhook", function()
  local webhook = require "kairos.providers.webhook"
  local account = { name = "hook", url = "https://shop.example/in", secret = "s" }

  it("posts the message under its key, signed by the host", function()
    local request = webhook.request(message(), account)
    assert.equal("https://shop.example/in", request.url)
    assert.is_true(request.signed)
    assert.equal("0123456789abcdef0123456789abcdef", request.headers["Idempotency-Key"])
    assert.same({
      type = "message.email",
      timestamp = "2026-11-20T09:12:00.000Z",
      data = {
        message_id = "0123456789abcdef0123456789abcdef",
        user = "ada",
        campaign = "cart",
        template = "reminder",
        channel = "email",
        to = "ada@example.org",
        subject = "Hello",
        body = "<p>hi</p>",
        data = { total = 5 },
      },
    }, request.json)
  end)

  it("leaves out an address and a subject that there are none of", function()
    local data = webhook.request(message { to = "", headers = {} }, account).json.data
    assert.is_nil(data.to)
    assert.is_nil(data.subject)
  end)

  it("does not show the secret", function()
    local request = webhook.request(message(), { name = "hook", url = "u", secret = "very secret" })
    local function walk(value)
      if type(value) == "table" then
        for key, inner in pairs(value) do
          walk(key)
          walk(inner)
        end
      else
        assert.is_nil(tostring(value):find("very secret", 1, true))
      end
    end
    walk(request)
  end)

  it("sorts answers", function()
    local kinds = {
      [200] = "accepted", [202] = "accepted", [204] = "accepted", [301] = "rejected", [400] = "rejected", [401] = "rejected",
      [404] = "rejected", [408] = "retry", [409] = "retry", [410] = "rejected", [425] = "retry", [429] = "retry",
      [500] = "retry", [502] = "retry", [503] = "retry", [504] = "retry",
    }
    for status, kind in pairs(kinds) do
      assert.equal(kind, webhook.verdict(response(status)).kind, status)
    end
  end)

  it("reads what the receiver reports", function()
    local events = webhook.feedback {
      json = { id = "9", type = "message.bounced", user = "ada", timestamp = 1760000000000, data = { channel = "email" } },
    }
    assert.same({ {
      event_id = "webhook:9", event_type = "message.bounced", user_id = "ada", timestamp = 1760000000000,
      payload = { channel = "email" },
    } }, events)
  end)

  it("takes a list, and nothing it does not know", function()
    local good = { id = "1", type = "message.opened", user = "ada", timestamp = 1 }
    local json = { good, { id = "2", type = "order.completed", user = "ada" }, 5, { type = "message.opened" }, { id = "3" } }
    assert.equal(1, #webhook.feedback { json = json })
    assert.same({}, webhook.feedback { json = "text" })
    assert.same({}, webhook.feedback {})
  end)
end)

describe("sendgrid", function()
  local sendgrid = require "kairos.providers.sendgrid"
  local account = { name = "grid", url = "https://grid.example/send", secret = "key", from = "Shop <hello@shop.example>" }

  it("maps a message to mail/send", function()
    local request = sendgrid.request(message(), account)
    assert.equal("Bearer key", request.headers.Authorization)
    assert.is_nil(request.signed)
    assert.same({ { to = { { email = "ada@example.org" } } } }, request.json.personalizations)
    assert.same({ email = "hello@shop.example", name = "Shop" }, request.json.from)
    assert.equal("0123456789abcdef0123456789abcdef", request.json.custom_args.message_id)
    assert.equal("ada", request.json.custom_args.user)
  end)

  it("puts plain text before HTML, and sends plain text alone", function()
    local both = sendgrid.request(message(), account).json.content
    assert.same({ { type = "text/plain", value = "hi" }, { type = "text/html", value = "<p>hi</p>" } }, both)
    local plain = sendgrid.request(message { body = "hi", text = "" }, account).json.content
    assert.same({ { type = "text/plain", value = "hi" } }, plain)
  end)

  it("prefers the template's sender", function()
    local cases = {
      ["a@b.example"] = { email = "a@b.example" },
      ["  a@b.example "] = { email = "a@b.example" },
      ["<a@b.example>"] = { email = "a@b.example" },
      ["Ada Lovelace <a@b.example>"] = { email = "a@b.example", name = "Ada Lovelace" },
      ['"Lovelace, Ada" <a@b.example>'] = { email = "a@b.example", name = "Lovelace, Ada" },
    }
    for text, expected in pairs(cases) do
      assert.same(expected, sendgrid.request(message { headers = { subject = "s", from = text } }, account).json.from)
    end
  end)

  it("says what is missing", function()
    assert.has_error(function() sendgrid.request(message { to = "" }, account) end, "the user has no address for this channel")
    assert.has_error(function() sendgrid.request(message(), { url = "u" }) end,
      "no sender: write `from` into the template's front matter or the provider's configuration")
    assert.has_error(function() sendgrid.request(message { headers = {} }, account) end,
      "no subject: write `subject` into the template's front matter")
  end)

  it("sorts answers, naming the field but not the address", function()
    assert.same({ kind = "accepted", detail = "202", provider_id = "abc" },
      sendgrid.verdict(response(202, { headers = { ["x-message-id"] = "abc" } })))
    local refused = { errors = { { message = "ada@example.org is bad", field = "personalizations.0.to.0.email" } } }
    assert.same({ kind = "rejected", detail = "400 personalizations.0.to.0.email" },
      sendgrid.verdict(response(400, { json = refused })))
    assert.equal("ambiguous", sendgrid.verdict(response(504)).kind)
    for _, status in ipairs { 429, 500, 502, 503 } do
      assert.equal("retry", sendgrid.verdict(response(status)).kind, status)
    end
    for _, status in ipairs { 400, 401, 403, 404, 413 } do
      assert.equal("rejected", sendgrid.verdict(response(status)).kind, status)
    end
  end)

  it("turns the Event Webhook into events", function()
    local base = { message_id = "m1", user = "ada", campaign = "cart", template = "reminder", timestamp = 1760000000 }
    local function report(changes)
      local made = { sg_event_id = "s1" }
      for name, value in pairs(base) do
        made[name] = value
      end
      for name, value in pairs(changes) do
        made[name] = value
      end
      return made
    end
    local events = sendgrid.feedback { json = {
      report { event = "bounce", type = "bounce", reason = "550" },
      report { event = "bounce", type = "blocked" },
      report { event = "click", url = "https://shop.example/x" },
      report { event = "spamreport" },
      report { event = "unsubscribe" },
      report { event = "processed" },
      { event = "open", sg_event_id = "s2" },
      "text",
    } }
    local types = {}
    for i, event in ipairs(events) do
      types[i] = event.event_type
    end
    assert.same({ "message.bounced", "message.bounced", "message.clicked", "message.complained", "message.unsubscribed" }, types)
    assert.equal("hard", events[1].payload.bounce_type)
    assert.equal("block", events[2].payload.bounce_type)
    assert.equal("https://shop.example/x", events[3].payload.url)
    assert.same({ "sendgrid:s1", "ada", 1760000000000 }, { events[1].event_id, events[1].user_id, events[1].timestamp })
    assert.same({}, sendgrid.feedback { json = "no list" })
    -- The envelope rejects these by name, and takes what stands beside them.
    for _, wrong in ipairs { 1e308, -1, "nan", "inf", "soon" } do
      events = sendgrid.feedback { json = { report { event = "open", timestamp = wrong } } }
      assert.equal(wrong, events[1].timestamp)
    end
  end)
end)
