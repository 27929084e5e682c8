-- Remind customers before something that they buy again and again runs out. How long it lasts them is told from their own orders,
-- and from the list below until there are two. What runs out in the same week is in one message. A new order counts anew.
local kairos = require "kairos"

local date = kairos.date

-- Days that one piece lasts most people. What is not in this list is never reminded of.
local LASTS = {
  ["coffee-250g"] = 14,
  ["coffee-1kg"]  = 45,
  ["filters-100"] = 60,
  ["descaler"]    = 120,
}

-- Before it is gone: time to order, to roast and to deliver.
local NOTICE = "4 days"

--- Those of an order's items that run out.
local function lasting(order)
  local items = {}
  for _, item in ipairs(type(order.items) == "table" and order.items or {}) do
    if type(item) == "table" and LASTS[item.sku] then
      items[#items + 1] = item
    end
  end
  return items
end

--- What we know of a customer's supplies, to be changed: sku -> { name, last, pieces, days, due }.
local function supplies_of(user)
  local supplies = {}
  for sku, supply in pairs(user.supplies or {}) do
    supplies[sku] = { name = supply.name, last = supply.last, pieces = supply.pieces, days = supply.days, due = supply.due }
  end
  return supplies
end

--- Days that one piece lasts, after another order of it: half of what we thought, half of what we saw. Within half and twice the
--- list's figure, since a friend's present is no habit.
local function learn(supply, sku, now, user)
  local seen = date.between(supply.last, now, "days", user) / supply.pieces
  return math.max(LASTS[sku] / 2, math.min(LASTS[sku] * 2, (supply.days + seen) / 2))
end

--- Keep the supplies, and wake up for the first that runs out.
local function keep(supplies, user)
  local first
  for _, supply in pairs(supplies) do
    if supply.due and (not first or supply.due < first) then
      first = supply.due
    end
  end
  user:set("supplies", supplies)
  if first then
    user:at(first, { name = "running_out" })
  else
    user:cancel "running_out"
  end
end

return kairos.rule {
  name = "replenishment",
  on   = "order.completed",
  when = function(event)
    return #lasting(event.payload) > 0
  end,
  act  = function(event, user)
    local now, supplies = kairos.now(), supplies_of(user)
    for _, item in ipairs(lasting(event.payload)) do
      local known, pieces = supplies[item.sku], math.max(tonumber(item.quantity) or 1, 1)
      local days = known and learn(known, item.sku, now, user) or LASTS[item.sku]
      local gone = date.add(now, math.floor(days * pieces) .. " days", user)
      supplies[item.sku] = {
        name = type(item.name) == "string" and item.name or item.sku, last = now, pieces = pieces, days = days,
        -- The first morning of the days in which to order.
        due = date.next("09:00", user, math.max(date.add(gone, "-" .. NOTICE, user), now)),
      }
    end
    keep(supplies, user)
  end,
  timers = {
    running_out = function(timer, user)
      local supplies, items = supplies_of(user), {}
      local this_week = date.add(timer.due, "7 days", user)
      for sku, supply in pairs(supplies) do
        if supply.due and supply.due < this_week then
          items[#items + 1] = { sku = sku, name = supply.name }
          supply.due = nil
        end
      end
      keep(supplies, user)
      user:send {
        channel = "email", template = "running_out", data = { items = items, one = #items == 1 and items[1].name or nil },
        purpose = "marketing", cap = "2/30d", expires_in = "3d",
      }
    end,
  },
}
