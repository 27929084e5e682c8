-- Prices as the customer reads them.
local kairos = require "kairos"

local money = kairos.money

local prices = {}

--- "84,50 €" of what an event's payload says; nil if it says no price.
---@param amount any
---@param currency any
---@return string?
function prices.show(amount, currency)
  if type(amount) ~= "number" then
    return nil
  end
  return money(amount, type(currency) == "string" and currency or "EUR"):format()
end

return prices
