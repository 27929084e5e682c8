-- Tell those who have looked at a product in the last 30 days, or marked it, that it costs at least 5 % less now: those with the
-- app there, by day, the others by email. One such message in three days; none to whom has ordered in the last two weeks, who may
-- have paid more for the same, or is asleep (win_back). `was` is the lowest price of the last 30 days: that is what may be shown
-- as the former one.
local kairos = require "kairos"
local prices = require "shared.prices"

local date = kairos.date

-- More is a slip in the shop's prices: nobody shall hear of it, let alone thousands.
local LEAST, MOST = 0.05, 0.9

local watchers = kairos.interest {
  name = "sku_watchers", of = { "product.viewed", "product.favourited" }, by = "payload.sku", over = "30d",
}
local orders = kairos.window { of = "order.completed", over = "14d" }

--- By how much it is cheaper, 0 to 1; 0 if the shop does not say both prices.
local function drop_of(product)
  if type(product.was) ~= "number" or type(product.price) ~= "number" or product.was <= 0 then
    return 0
  end
  return (product.was - product.price) / product.was
end

local function tell(user, channel, template, data)
  user:send {
    channel = channel, template = template, data = data, purpose = "marketing", cap = "1/3d", expires_in = "1d", limit = "1000/1m",
  }
end

return kairos.rule {
  name       = "price_drop",
  on         = "price.dropped",
  for_each   = function(event)
    local sku = event.payload.sku
    return type(sku) == "string" and watchers:of(sku) or nil
  end,
  pace       = "500/s",
  expires_in = "12h",
  when       = function(event, user)
    local product = event.payload
    local drop = drop_of(product)
    return drop >= LEAST and drop <= MOST and prices.show(product.price, product.currency) and type(product.name) == "string"
      and user:count(orders) == 0 and not user.asleep
  end,
  act        = function(event, user)
    local product = event.payload
    local data = {
      sku = product.sku, name = product.name, percent = math.floor(drop_of(product) * 100),
      price = prices.show(product.price, product.currency), was = prices.show(product.was, product.currency),
    }
    if user.push_token == nil then
      tell(user, "email", "lower_price", data)
    elseif date.is_open(kairos.now(), "daily 08:00-21:00", user) then
      tell(user, "push", "lower_price_push", data)
    else
      user:at(date.next("08:00", user), { name = "morning", data = data, late = "skip", late_after = "6h" })
    end
  end,
  timers     = {
    morning = function(timer, user)
      if user:count(orders) == 0 then
        tell(user, "push", "lower_price_push", timer.data)
      end
    end,
  },
}
