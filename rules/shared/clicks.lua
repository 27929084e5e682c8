-- Which clicks count. Scanners of mail servers open every link within seconds of its arrival, the one to unsubscribe too; people
-- take longer. What says of itself that it is a machine is none in any case.
local clicks = {}

local AT_ONCE = 10 * 1000 -- milliseconds

--- Whether a person clicked on a message of this campaign.
---@param event kairos.Event  message.clicked
---@param campaign string
---@param since number  when the message was asked for
function clicks.by_person(event, campaign, since)
  local click = event.payload
  return click.campaign == campaign and not click.machine and event.timestamp - since > AT_ONCE
end

return clicks
