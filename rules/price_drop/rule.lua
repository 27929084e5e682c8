-- Tell those who have looked at a product in the last 30 days, or marked it, that it costs at least 5 % less now. One such message
-- in three days; none to whom has ordered in the last two weeks, who may have paid more for the same, or is asleep (win_back).
-- `was` is the lowest price of the last 30 days: that is what may be shown as the former one.
local kairos = require "kairos"
local prices = require "shared.prices"

local LEAST = 0.05

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
    return drop_of(event.payload) >= LEAST and user:count(orders) == 0 and not user.asleep
  end,
  act        = function(event, user)
    local product = event.payload
    local push = user.push_token ~= nil
    user:send {
      channel = push and "push" or "email", template = push and "lower_price_push" or "lower_price",
      data = {
        sku = product.sku, name = product.name, percent = math.floor(drop_of(product) * 100),
        price = prices.show(product.price, product.currency), was = prices.show(product.was, product.currency),
      },
      purpose = "marketing", cap = "1/3d", expires_in = "1d", limit = "1000/1m",
    }
  end,
}
