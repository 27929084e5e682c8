--- What specs of filling from the event log share: a host that reloads by command alone and is given days of history.
local files = require "spec.functional.support.files"

local fills = {}

--- @param more  keys over these
function fills.configured(more)
  local config = { rules = { watch = false }, ingest = { max_past = "20d" }, log = { segment_age = "1h" } }
  for name, value in pairs(more or {}) do config[name] = value end
  return config
end

--- A campaign whose rule sends by the template `said`.
function fills.write(host, campaign, text)
  local folder = host.rules .. "/" .. campaign
  files.write(folder .. "/rule.lua", text)
  files.write(folder .. "/said.txt", "{{{text}}}")
end

function fills.post(host, list)
  for first = 1, #list, 200 do host:accept(unpack(list, first, math.min(first + 199, #list))) end
end

function fills.rules_of(host)
  return host:ask("status").rules
end

return fills
