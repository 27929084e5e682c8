-- Tell those who asked to be told that a product is here again: as an SMS by day where there is a telephone number, else by email.
-- Each of them once for each time that he asked, within half a year.
local kairos = require "kairos"
local prices = require "shared.prices"

local date = kairos.date

local askers = kairos.interest { name = "stock_askers", of = "stock.requested", by = "payload.sku", over = "180d" }

-- At most so many products are waited for; the oldest wish gives way.
local MOST = 20

--- What a customer waits for, to be changed: sku -> when he asked.
local function wishes_of(user)
  local wishes, count, oldest = {}, 0, nil
  for sku, asked in pairs(user.waiting_for or {}) do
    wishes[sku] = asked
    count = count + 1
    if not oldest or asked < wishes[oldest] then
      oldest = sku
    end
  end
  return wishes, count, oldest
end

return {
  kairos.rule {
    name = "back_in_stock_wish",
    on   = "stock.requested",
    when = function(event)
      return type(event.payload.sku) == "string"
    end,
    act  = function(event, user)
      local wishes, count, oldest = wishes_of(user)
      if count >= MOST then
        wishes[oldest] = nil
      end
      wishes[event.payload.sku] = kairos.now()
      user:set("waiting_for", wishes)
    end,
  },
  kairos.rule {
    name       = "back_in_stock",
    on         = "stock.back",
    for_each   = function(event)
      local sku = event.payload.sku
      return type(sku) == "string" and askers:of(sku) or nil
    end,
    pace       = "200/s",
    expires_in = "6h",
    when       = function(event, user)
      local left = event.payload.stock -- none again by now: who waits goes on waiting
      return (type(left) ~= "number" or left >= 1) and (user.waiting_for or {})[event.payload.sku] ~= nil
    end,
    act        = function(event, user)
      local product = event.payload
      local wishes = wishes_of(user)
      wishes[product.sku] = nil
      user:set("waiting_for", wishes)

      local sms = user.phone ~= nil and date.is_open(kairos.now(), "daily 09:00-20:00", user)
      user:send {
        channel = sms and "sms" or "email", template = sms and "here_again_sms" or "here_again",
        data = {
          sku = product.sku, name = product.name or product.sku, price = prices.show(product.price, product.currency),
          few = type(product.stock) == "number" and product.stock <= 20 and product.stock or nil,
        },
        purpose = "transactional", expires_in = "6h",
      }
    end,
  },
}
