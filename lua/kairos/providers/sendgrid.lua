--- SendGrid: POST /v3/mail/send (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send).
--
-- It takes no idempotency keys: an attempt without an answer is ambiguous, and the account says what becomes of it. Our message
-- id travels in custom_args and comes back with each event of the Event Webhook.

--- What its events are called here. Others (processed, group_resubscribe) tell nothing new.
local event_types = {
  delivered = "message.delivered",
  deferred = "message.deferred",
  bounce = "message.bounced",
  dropped = "message.dropped",
  spamreport = "message.complained",
  unsubscribe = "message.unsubscribed",
  group_unsubscribe = "message.unsubscribed",
  open = "message.opened",
  click = "message.clicked",
}

local sendgrid = { honours_keys = false }

--- "Shop <hello@shop.example>" or a bare address.
---@param text string
---@return { email: string, name: string? }
local function address(text)
  local name, email = text:match "^%s*(.-)%s*<%s*([^<>%s]+)%s*>%s*$"
  if not email then
    return { email = text:match "^%s*(.-)%s*$" }
  end
  name = name:match '^"(.*)"$' or name
  return { email = email, name = name ~= "" and name or nil }
end

---@param message kairos.ProviderMessage
---@param account kairos.ProviderAccount
---@return kairos.ProviderRequest
function sendgrid.request(message, account)
  local headers = message.headers
  local from = headers.from or account.from
  if message.to == "" then
    error("the user has no address for this channel", 0)
  elseif not from then
    error("no sender: write `from` into the template's front matter or the provider's configuration", 0)
  elseif not headers.subject then
    error("no subject: write `subject` into the template's front matter", 0)
  end
  local content
  if message.text ~= "" then -- SendGrid wants plain text first
    content = { { type = "text/plain", value = message.text }, { type = "text/html", value = message.body } }
  else
    content = { { type = "text/plain", value = message.body } }
  end
  return {
    url = account.url,
    headers = { ["Content-Type"] = "application/json", Authorization = "Bearer " .. (account.secret or "") },
    json = {
      personalizations = { { to = { { email = message.to } } } },
      from = address(from),
      reply_to = headers.reply_to and address(headers.reply_to) or nil,
      subject = headers.subject,
      content = content,
      custom_args = { message_id = message.id, user = message.user, campaign = message.campaign, template = message.template },
      headers = { ["X-Message-Key"] = message.id, ["List-Unsubscribe"] = headers.list_unsubscribe },
    },
  }
end

---@param response kairos.ProviderResponse
---@return kairos.ProviderVerdict
function sendgrid.verdict(response)
  local status = response.status
  if status >= 200 and status < 300 then
    return { kind = "accepted", detail = ("%d"):format(status), provider_id = response.headers["x-message-id"] }
  end
  -- Its messages may quote the address; the field's name does not.
  local errors = type(response.json) == "table" and response.json.errors
  local first = type(errors) == "table" and errors[1]
  local field = type(first) == "table" and type(first.field) == "string" and " " .. first.field or ""
  if status == 504 then -- a gateway gave up on the server behind it, which may have taken the mail
    return { kind = "ambiguous", detail = "504" .. field }
  elseif status == 429 or status >= 500 then
    return { kind = "retry", detail = ("%d"):format(status) .. field }
  end
  return { kind = "rejected", detail = ("%d"):format(status) .. field }
end

--- What is no number of seconds stays as it is: the envelope rejects that report by its field, and the others are taken.
local function milliseconds(seconds)
  local at = tonumber(seconds)
  return at and at >= 0 and at < 1e11 and at * 1000 or seconds
end

--- The Event Webhook's batch of events (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event). The host
-- has checked the signature.
---@param request { json: any }
---@return table[] events  in the host's envelope; those of mails that are not ours are left out
function sendgrid.feedback(request)
  local events = {}
  for _, report in ipairs(type(request.json) == "table" and request.json or {}) do
    local event_type = type(report) == "table" and event_types[report.event]
    if event_type and report.message_id and report.user and type(report.sg_event_id) == "string" then
      events[#events + 1] = {
        event_id = "sendgrid:" .. report.sg_event_id,
        event_type = event_type,
        user_id = report.user,
        timestamp = milliseconds(report.timestamp),
        payload = {
          message_id = report.message_id,
          campaign = report.campaign,
          template = report.template,
          channel = "email",
          url = report.url,
          reason = report.reason,
          -- "blocked": refused this time; a bounce is for good
          to = report.event == "bounce" and report.email or nil,
          bounce_type = report.event == "bounce" and (report.type == "blocked" and "block" or "hard") or nil,
        },
      }
    end
  end
  return events
end

return sendgrid
