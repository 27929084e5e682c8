-- Prices as the customer reads them.
local kairos = require "kairos"

local money = kairos.money

local prices = {}

--- "84,50 €" of what an event's payload says; nil if it says no price, or none that there is: a campaign does without then.
---@param amount any
---@param currency any
---@return string?
function prices.show(amount, currency)
  if type(amount) ~= "number" then
    return nil
  end
  local known, price = pcall(money, amount, type(currency) == "string" and currency:upper() or "EUR")
  return known and price:format() or nil
end

return prices
