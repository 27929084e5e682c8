--- Webhooks: a JSON POST, signed as Standard Webhooks (https://www.standardwebhooks.com) by the host.
--
-- Pure mapping: the host makes the connection, adds webhook-id, webhook-timestamp and webhook-signature, and times out. The
-- receiver keeps the Idempotency-Key, so that an attempt without an answer may be sent again.

--- Answers that another attempt may change, though they are no 5xx. 409: a request under this key is being worked on.
local again = { [408] = true, [409] = true, [425] = true, [429] = true }

---@class kairos.ProviderMessage
---@field id string  32 hex digits: the idempotency key
---@field user string
---@field campaign string
---@field template string
---@field channel string
---@field to string  "" if the profile has no address
---@field data table<string, any>  what the template was rendered with
---@field headers table<string, string>  front matter, rendered
---@field body string
---@field text string  a plain-text alternative of an HTML body, else ""
---@field accepted_at string  when it was decided, ISO 8601

---@class kairos.ProviderAccount
---@field name string
---@field url string
---@field secret string?
---@field from string?

---@class kairos.ProviderRequest
---@field url string
---@field method? string  "POST" unless given
---@field headers table<string, string>
---@field json? table  the body, encoded by the host with its keys in order, so that each attempt sends the same bytes
---@field body? string
---@field signed? boolean

---@class kairos.ProviderResponse
---@field status number
---@field headers table<string, string>  names in lower case
---@field body string
---@field json any  the body, if it is JSON

---@class kairos.ProviderVerdict
---@field kind "accepted"|"retry"|"rejected"|"ambiguous"
---@field detail string  without personal data: it goes into logs and the ledger
---@field provider_id? string
---@field retry_after_ms? number  a Retry-After header is obeyed by the host

local webhook = { honours_keys = true }

---@param message kairos.ProviderMessage
---@param account kairos.ProviderAccount
---@return kairos.ProviderRequest
function webhook.request(message, account)
  return {
    url = account.url,
    headers = { ["Content-Type"] = "application/json", ["Idempotency-Key"] = message.id },
    signed = true,
    json = {
      type = "message." .. message.channel,
      timestamp = message.accepted_at,
      data = {
        message_id = message.id,
        user = message.user,
        campaign = message.campaign,
        template = message.template,
        channel = message.channel,
        to = message.to ~= "" and message.to or nil,
        subject = message.headers.subject,
        body = message.body,
        data = message.data,
      },
    },
  }
end

---@param response kairos.ProviderResponse
---@return kairos.ProviderVerdict
function webhook.verdict(response)
  local status = response.status
  local detail = ("%d"):format(status)
  if status >= 200 and status < 300 then
    return { kind = "accepted", detail = detail }
  elseif status >= 500 or again[status] then
    return { kind = "retry", detail = detail }
  end
  return { kind = "rejected", detail = detail }
end

--- What a receiver reports back: one object or a list of { id, type = "message.…", timestamp (ms), user, data }. The host has
-- checked the signature.
---@param request { json: any }
---@return table[] events  in the host's envelope; what is no report is left out
function webhook.feedback(request)
  local reports = request.json
  if type(reports) ~= "table" then
    return {}
  end
  local events = {}
  for _, report in ipairs(reports[1] and reports or { reports }) do
    local known = type(report) == "table" and type(report.type) == "string" and report.type:find "^message%."
    if known and type(report.id) == "string" and report.user then
      events[#events + 1] = {
        event_id = "webhook:" .. report.id,
        event_type = report.type,
        user_id = report.user,
        timestamp = report.timestamp,
        payload = report.data or { id = report.id },
      }
    end
  end
  return events
end

return webhook
