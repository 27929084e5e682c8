--- Money: whole numbers of a currency's smallest unit, so that sums are exact.
--
-- An amount is kept as cents (yen, fils …; ISO 4217 says how many decimals a currency has) and is exact up to 2^53 - 1 of
-- them; beyond that there is an error, never a wrong sum. What has to be rounded (percentages, factors) is rounded half to
-- even. Two currencies are never added. Money is not changed; each operation makes new money. Pure.

local check = require "kairos.check"
local core = require "kairos.core"

local describe = check.describe

--- Currencies by their number of decimals (ISO 4217).
local CURRENCIES = {
  [0] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  [2] = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE "
    .. "CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW "
    .. "KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK "
    .. "PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS "
    .. "UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
  [3] = "BHD IQD JOD KWD LYD OMR TND",
}
local decimals_of, currencies = {}, {}
for decimals, codes in pairs(CURRENCIES) do
  for code in codes:gmatch "%u+" do
    decimals_of[code] = decimals
    currencies[#currencies + 1] = code
  end
end

local signs = {
  EUR = "€", USD = "$", GBP = "£", JPY = "¥", INR = "₹", KRW = "₩", ILS = "₪", VND = "₫", PLN = "zł", CZK = "Kč", SEK = "kr",
  NOK = "kr", DKK = "kr", HUF = "Ft", BRL = "R$", CAD = "CA$", AUD = "A$", NZD = "NZ$", MXN = "MX$", UAH = "₴", TRY = "₺",
  NGN = "₦", PHP = "₱", CNY = "CN¥",
}

local NARROW, BLANK = "\226\128\175", "\194\160" -- both do not break a line (U+202F, U+00A0)

--- How a country writes money, after Unicode's CLDR. `before`: the sign comes first, with this between.
local styles = {
  en = { group = ",", point = ".", before = "" },
  de = { group = ".", point = ",", after = BLANK },
  fr = { group = NARROW, point = ",", after = BLANK },
  nl = { group = ".", point = ",", before = BLANK },
  ch = { group = "’", point = ".", before = BLANK },
  sv = { group = BLANK, point = ",", after = BLANK },
}
local same_style = { es = "de", it = "de", pt = "de", da = "de", tr = "de", nb = "sv", fi = "sv", pl = "sv", cs = "sv", hu = "sv" }
local style_of_currency = {
  EUR = "de", CHF = "ch", DKK = "de", SEK = "sv", NOK = "sv", PLN = "sv", CZK = "sv", HUF = "sv", BRL = "de", TRY = "de",
  UAH = "sv", VND = "de",
}

local LARGEST = 9007199254740991 -- 2^53 - 1: beyond it a number stands for its neighbours too
local LIMB = 1000000

---@class kairos.Money
---@field amount number  in the currency's smallest unit: 1250 for 12.50 EUR
---@field currency string  "EUR"
---@operator add(kairos.Money): kairos.Money
---@operator sub(kairos.Money): kairos.Money
---@operator unm: kairos.Money
local Money = {}
local meta = { __index = Money }

local function make(amount, currency)
  if amount > LARGEST or amount < -LARGEST then
    core.fail(("kairos.money: the result is beyond what can be told exactly: ±%.0f of the smallest unit"):format(LARGEST))
  end
  return setmetatable({ amount = amount + 0, currency = currency }, meta)
end

local function check_currency(code, what)
  if type(code) == "string" and decimals_of[code] then
    return code
  end
  local meant = type(code) == "string" and (decimals_of[code:sub(1, 8):upper()] and code:upper() or core.nearest(code, currencies))
  core.fail(what .. ': the currency must be a code of ISO 4217 such as "EUR", not ' .. describe(code)
    .. (meant and '; did you mean "' .. meant .. '"?' or ""))
end

--- Raise unless `value` is money.
local function check_money(value, what)
  if type(value) ~= "table" or getmetatable(value) ~= meta then
    core.fail(what .. ': both must be money; write kairos.money(12.5, "EUR") instead of ' .. describe(value))
  end
  local amount = value.amount
  if type(amount) ~= "number" or amount % 1 ~= 0 or amount > LARGEST or amount < -LARGEST or not decimals_of[value.currency] then
    core.fail(what .. ": this money was changed by hand; `amount` must be a whole number, `currency` a code")
  end
  return value
end

local function check_same(a, b, what)
  check_money(a, what)
  check_money(b, what)
  if a.currency ~= b.currency then
    core.fail(what .. ": " .. a.currency .. " and " .. b.currency .. " are different currencies; convert one first: "
      .. 'price:convert("' .. a.currency .. '", rate)')
  end
end

--- A number or text as sign, digits and how many of them are decimals; nil if it is neither.
local function decimal(value)
  if type(value) == "number" then
    if value ~= value or value > 1e18 or value < -1e18 then
      return nil
    end
    -- 15 digits: what a person wrote, without the noise in the last bits of a binary fraction.
    local text = ("%.15g"):format(value)
    if text:find("e", 1, true) then
      text = (value > -1 and value < 1 and "%.20f" or "%.0f"):format(value)
    end
    value = text
  end
  if type(value) ~= "string" or #value > 40 then
    return nil
  end
  local sign, whole, point, fraction = value:match "^([+-]?)(%d+)(%.?)(%d*)$"
  if not whole or (point == "." and fraction == "") then
    return nil
  end
  return sign == "-" and -1 or 1, whole .. fraction, #fraction
end

--- Digits with `cut` of them less, rounded half to even; as a number, which is exact up to LARGEST.
local function shorten(digits, cut)
  if cut <= 0 then
    digits = digits .. ("0"):rep(-cut)
    digits = digits:gsub("^0+", "")
    return #digits > 16 and math.huge or tonumber(digits) or 0
  end
  digits = ("0"):rep(cut + 1 - #digits) .. digits
  local kept, rest = digits:sub(1, -cut - 1):gsub("^0+", ""), digits:sub(-cut)
  if #kept > 16 then
    return math.huge
  end
  local half = "5" .. ("0"):rep(cut - 1)
  local number = tonumber(kept) or 0
  -- Texts of the same length compare as their numbers do.
  if rest > half or (rest == half and number % 2 == 1) then
    number = number + 1
  end
  return number
end

local function limbs(number)
  local list = {}
  for i = 1, 3 do
    list[i] = number % LIMB
    number = (number - list[i]) / LIMB
  end
  return list
end

--- a * b exactly, both whole, not negative and below 10^18, as digits.
local function multiply(a, b)
  local left, right, sums = limbs(a), limbs(b), { 0, 0, 0, 0, 0, 0 }
  for i = 1, 3 do
    for j = 1, 3 do
      local at, carry = i + j - 1, left[i] * right[j]
      while carry > 0 do
        local sum = sums[at] + carry
        sums[at] = sum % LIMB
        carry = (sum - sums[at]) / LIMB
        at = at + 1
      end
    end
  end
  return ("%06.0f%06.0f%06.0f%06.0f%06.0f%06.0f"):format(sums[6], sums[5], sums[4], sums[3], sums[2], sums[1])
end

--- amount * factor / 10^shift, rounded half to even.
local function scale(amount, factor, shift, what)
  local sign, digits, decimals = decimal(factor)
  digits = digits and digits:gsub("^0+", "")
  if not sign or #digits > 15 then
    core.fail(what .. ": the factor must be a number of at most 15 digits, not " .. describe(factor))
  end
  if amount < 0 then
    amount, sign = -amount, -sign
  end
  return sign * shorten(multiply(amount, tonumber(digits) or 0), decimals + shift)
end

--- The same money so many times: kairos.money(3, "EUR"):times(2.5).
---@param factor number|string
---@return kairos.Money
function Money:times(factor)
  check_money(self, "money:times")
  return make(scale(self.amount, factor, 0, "money:times"), self.currency)
end

--- So many percent of it: price - price:percent(15).
---@param percent number|string  12.5 for 12.5 %
---@return kairos.Money
function Money:percent(percent)
  check_money(self, "money:percent")
  return make(scale(self.amount, percent, 2, "money:percent"), self.currency)
end

--- In another currency, at a rate you know: price:convert("USD", 1.0842).
---@param currency string
---@param rate number|string  of the other currency's units for one of this
---@return kairos.Money
function Money:convert(currency, rate)
  check_money(self, "money:convert")
  check_currency(currency, "money:convert")
  local shift = decimals_of[self.currency] - decimals_of[currency]
  return make(scale(self.amount, rate, shift, "money:convert"), currency)
end

--- In so many parts that together are all of it: 10 EUR in three are 3.34, 3.33 and 3.33.
---@param parts number  1 to 1000
---@return kairos.Money[]
function Money:split(parts)
  check_money(self, "money:split")
  if type(parts) ~= "number" or not (parts >= 1 and parts <= 1000) or parts % 1 ~= 0 then
    core.fail("money:split: the number of parts must be a whole number from 1 to 1000, not " .. describe(parts))
  end
  local sign = self.amount < 0 and -1 or 1
  local rest = sign * self.amount % parts
  local each, list = (sign * self.amount - rest) / parts, {}
  for i = 1, parts do
    core.charge(1)
    list[i] = make(sign * (each + (i <= rest and 1 or 0)), self.currency)
  end
  return list
end

--- As people write it: "12,50 €", "$12.50". Blanks in it do not break a line.
---@param style? "en"|"de"|"fr"|"nl"|"ch"|"sv"|"es"|"it"|"pt"|"da"|"nb"|"fi"|"pl"|"cs"|"hu"|"tr"  the currency's own unless given
---@return string
function Money:format(style)
  check_money(self, "money:format")
  local name = style or style_of_currency[self.currency] or "en"
  local how = type(name) == "string" and styles[same_style[name] or name]
  if not how then
    local known = {}
    for key in pairs(styles) do
      known[#known + 1] = key
    end
    for key in pairs(same_style) do
      known[#known + 1] = key
    end
    table.sort(known)
    core.fail("money:format: there is no style " .. describe(style) .. "; there are: " .. table.concat(known, ", "))
  end
  local decimals = decimals_of[self.currency]
  local digits = ("%.0f"):format(math.abs(self.amount))
  digits = ("0"):rep(decimals + 1 - #digits) .. digits
  local whole, fraction = digits:sub(1, #digits - decimals), digits:sub(#digits - decimals + 1)
  local groups = {}
  for at = (#whole - 1) % 3 + 1, #whole, 3 do
    groups[#groups + 1] = whole:sub(math.max(at - 2, 1), at)
  end
  local number = table.concat(groups, how.group) .. (decimals > 0 and how.point .. fraction or "")
  local sign, minus = signs[self.currency] or self.currency, self.amount < 0 and "-" or ""
  if how.after then
    return minus .. number .. how.after .. sign
  end
  local between = how.before
  if between == "" then
    return minus .. sign .. (sign == self.currency and BLANK or "") .. number
  end
  return sign .. between .. minus .. number
end

--- As data: "12.50".
---@return string
function Money:decimal()
  check_money(self, "money:decimal")
  local decimals = decimals_of[self.currency]
  local digits = ("%.0f"):format(math.abs(self.amount))
  digits = ("0"):rep(decimals + 1 - #digits) .. digits
  local whole, fraction = digits:sub(1, #digits - decimals), digits:sub(#digits - decimals + 1)
  return (self.amount < 0 and "-" or "") .. whole .. (decimals > 0 and "." .. fraction or "")
end

function meta.__add(a, b)
  check_same(a, b, "money + money")
  return make(a.amount + b.amount, a.currency)
end

function meta.__sub(a, b)
  check_same(a, b, "money - money")
  return make(a.amount - b.amount, a.currency)
end

function meta.__unm(a)
  return make(-a.amount, a.currency)
end

function meta.__mul(a, b)
  if type(a) ~= "table" then
    a, b = b, a
  end
  return Money.times(a, b)
end

function meta.__eq(a, b)
  return a.amount == b.amount and a.currency == b.currency
end

function meta.__lt(a, b)
  check_same(a, b, "money < money")
  return a.amount < b.amount
end

function meta.__le(a, b)
  check_same(a, b, "money <= money")
  return a.amount <= b.amount
end

---@class kairos.money
---@overload fun(value: number|string, currency: string): kairos.Money
local money = {}

--- What a text says, "12,50 €" or "USD 1,234.50", or nil and why it cannot be told.
---@param text string
---@param currency? string  of a text that names none
---@return kairos.Money?, string?
function money.parse(text, currency)
  if currency ~= nil then
    check_currency(currency, "kairos.money.parse")
  end
  if type(text) ~= "string" or #text > 64 then
    return nil, "not a short text"
  end
  local rest, found = text, nil
  for code, sign in pairs(signs) do
    if rest:find(sign, 1, true) and (not found or #sign > #signs[found]) then
      found = code
    end
  end
  if found then
    if signs[found] == "kr" then -- three countries write it so
      found = currency and signs[currency] == "kr" and currency or found
    end
    local first, last = rest:find(signs[found], 1, true)
    rest = rest:sub(1, first - 1) .. rest:sub(last + 1)
  else
    local code = rest:match "%u%u%u"
    if code and decimals_of[code] then
      found = code
      rest = rest:gsub(code, "", 1)
    end
  end
  if found and currency and found ~= currency then
    return nil, "it is " .. found .. ", not " .. currency
  end
  currency = found or currency
  if not currency then
    return nil, "it names no currency"
  end
  rest = rest:gsub(NARROW, ""):gsub(BLANK, ""):gsub("’", ""):gsub("[%s']", "")
  local sign, number = rest:match "^([+-]?)([%d.,]+)$"
  if not number or not number:find "^%d" then
    return nil, "it is no amount"
  end
  local decimals = decimals_of[currency]
  local point = number:match "[.,]%d*[.,]" and number:match ".*([.,])" or number:match "[.,]"
  local group = point == "," and "." or ","
  if point then
    local _, points = number:gsub("%" .. point, "")
    local behind = #number:match("[^" .. point .. "]*$")
    if points > 1 then
      point, group = nil, point -- 1.234.567
    elseif behind == 3 and decimals ~= 3 then
      if number:find(group, 1, true) then
        return nil, "it has more decimals than " .. currency
      end
      return nil, "it may be thousands or decimals; give it with two decimals"
    end
  end
  local whole, fraction = number, ""
  if point then
    whole, fraction = number:match("^(.*)%" .. point .. "(%d*)$")
  end
  if whole:find(group, 1, true) then
    local head = whole:match("^%d+")
    local tail = whole:sub(#head + 1)
    if #head > 3 or tail:gsub("%" .. group .. "%d%d%d", "") ~= "" then
      return nil, "its groups of thousands are not well-formed"
    end
    whole = whole:gsub("%" .. group, "")
  end
  if whole:find "%D" or #fraction > decimals then
    return nil, "it has more decimals than " .. currency
  end
  local amount = shorten(whole .. fraction, #fraction - decimals)
  if amount > LARGEST then
    return nil, "it is too large"
  end
  return make(sign == "-" and -amount or amount, currency)
end

--- What a list adds up to.
---@param list kairos.Money[]
---@param currency string  of an empty list's nothing, and of each element
---@return kairos.Money
function money.sum(list, currency)
  check_currency(currency, "kairos.money.sum")
  if type(list) ~= "table" then
    core.fail("kairos.money.sum: the first value must be a list of money, not " .. describe(list))
  end
  local total = make(0, currency)
  for i = 1, #list do
    core.charge(1)
    total = total + list[i]
  end
  return total
end

--- Whole cents, or whatever is the currency's smallest unit: kairos.money.of_cents(1250, "EUR").
---@param amount number
---@param currency string
---@return kairos.Money
function money.of_cents(amount, currency)
  check_currency(currency, "kairos.money.of_cents")
  if type(amount) ~= "number" or amount % 1 ~= 0 then
    core.fail("kairos.money.of_cents: the amount must be a whole number, not " .. describe(amount))
  end
  return make(amount, currency)
end

--- kairos.money(12.5, "EUR"), kairos.money("12.50", "EUR"). A number (as in most payloads) is rounded to the currency's
--- decimals; text with more of them than the currency has is an error, as "1.250" may be thousands.
return setmetatable(money, {
  ---@param value number|string
  ---@param currency string
  ---@return kairos.Money
  __call = function(_, value, currency)
    check_currency(currency, "kairos.money")
    local sign, digits, decimals = decimal(value)
    if not sign then
      core.fail("kairos.money: the amount must be a number, or text such as \"12.50\", not " .. describe(value)
        .. (type(value) == "string" and '; for text as people write it: kairos.money.parse("12,50 €")' or ""))
    end
    local spare = decimals - decimals_of[currency]
    if spare > 0 and type(value) == "string" then
      core.fail(("kairos.money: %s has %d decimals, and %s has %d"):format(currency, decimals_of[currency], describe(value),
        decimals))
    end
    return make(sign * shorten(digits, spare), currency)
  end,
})
