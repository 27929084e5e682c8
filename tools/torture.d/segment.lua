--- Who must have been in the segment of rules/groups, and from when until when: worked out from the events alone, in the order
--- in which the host says that it judged the user.
local segment = {}

local OVER, LEAST, EXACT_MOST = 2000, 3, 64

--- @param rows  every time that the user was judged, as `kairos why USER busy --replay` tells them
-- @param by_id  events by their ids
-- @param fault  function(text): it cannot be so
-- @return moves = list of "entered at MS" and "left at MS", or nil where the window was too full to be exact: as of its newest
--   event, whatever moment the user is judged as of
function segment.check(rows, by_id, fault)
  local acted, newest, judged, member, moves = {}, -math.huge, -math.huge, false, {}

  local function inside(at)
    local count, leaves = 0, math.huge
    for _, time in ipairs(acted) do
      if time > at - OVER and time <= at then
        count = count + 1
        leaves = math.min(leaves, time + OVER)
      end
    end
    return count, leaves
  end

  local next_change = math.huge
  for _, row in ipairs(rows) do
    local event, due = by_id[row.cause], tonumber(row.cause:match "^timer:.*@(%d+)$" or row.cause:match "^command@(%d+)$")
    local ours = row.cause:find("^timer:kairos/segment:busy@") ~= nil
    local moment = event and event.at or due
    if not moment then
      fault(("it was judged by what nobody sent, %s"):format(row.cause))
      return moves
    end
    if event and event.type == "acted" then
      acted[#acted + 1] = event.at
      newest = math.max(newest, event.at)
      if inside(newest) > EXACT_MOST then return nil end
    end
    if ours and due ~= next_change then
      fault(("it was judged at %.0f, and the next change was at %.0f"):format(due, next_change))
    elseif not ours and moment > next_change then
      fault(("%s, of %.0f, came before the change at %.0f"):format(row.cause, moment, next_change))
    end
    local at = math.max(judged, moment)
    if row.at ~= at then fault(("%s: it was judged as of %.0f and should be as of %.0f"):format(row.cause, row.at, at)) end
    local count, leaves = inside(at)
    local is = count >= LEAST
    local wanted = is == member and (is and "in" or "out") or (is and "entered" or "left")
    if row.decision ~= wanted then
      fault(("%s: as of %.0f the user %s, and should be: %s"):format(row.cause, at, row.decision, wanted))
    end
    if is ~= member then moves[#moves + 1] = ("%s at %.0f"):format(wanted, at) end
    judged, member, next_change = at, is, leaves
  end
  if next_change < math.huge then fault(("the change at %.0f did not come"):format(next_change)) end
  return moves
end

return segment
