-- kairos.money, in plain Lua and in the host; rounding against Python's decimal.
local library = require "spec.lua.support.library"
local process = require "spec.functional.support.process"

local BLANK, NARROW = "\194\160", "\226\128\175"

local cases = {
  { "money(12.5, 'EUR'):format()", "12,50" .. BLANK .. "€" },
  { "money('12.50', 'USD'):format()", "$12.50" },
  { "money('-1234567.8', 'USD'):format()", "-$1,234,567.80" },
  { "money(1234.5, 'EUR'):format 'en'", "€1,234.50" },
  { "money(1234.5, 'EUR'):format 'fr'", "1" .. NARROW .. "234,50" .. BLANK .. "€" },
  { "money(-12.5, 'EUR'):format 'nl'", "€" .. BLANK .. "-12,50" },
  { "money(1234567, 'JPY'):format()", "¥1,234,567" },
  { "money('1.234', 'KWD'):format()", "KWD" .. BLANK .. "1.234" },
  { "money(1234.5, 'CHF'):format()", "CHF" .. BLANK .. "1’234.50" },
  { "money(0.05, 'SEK'):format()", "0,05" .. BLANK .. "kr" },
  { "money(100, 'EUR'):format 'es'", "100,00" .. BLANK .. "€" },
  { "money(999, 'EUR'):format 'en'", "€999.00" },
  { "money(1000, 'EUR'):format 'en'", "€1,000.00" },
  { "money('-0.05', 'EUR'):decimal()", "-0.05" },
  { "money(5, 'JPY'):decimal()", "5" },
  -- Numbers from payloads are binary fractions; what was meant is told from 15 digits.
  { "money(0.1 + 0.2, 'EUR').amount", 30 },
  { "money(1.005, 'EUR').amount", 100 },
  { "money(1.015, 'EUR').amount", 102 },
  { "money(19.99 * 100, 'EUR').amount", 199900 },
  { "money(1e-7, 'EUR').amount", 0 },
  { "money(-0.005, 'EUR').amount", 0 },
  { "money(90071992547409.91, 'EUR').amount", 9007199254740990 },
  { "money.of_cents(1250, 'EUR'):decimal()", "12.50" },
  { "(money(0.1, 'EUR') + money(0.2, 'EUR')).amount", 30 },
  { "(money(1, 'EUR') - money(2.5, 'EUR')):decimal()", "-1.50" },
  { "(-money(1, 'EUR')):decimal()", "-1.00" },
  { "(money(3, 'EUR') * 2.5):decimal()", "7.50" },
  { "(3 * money(0.01, 'EUR')):decimal()", "0.03" },
  { "money(1, 'EUR') == money('1.00', 'EUR')", true },
  { "money(1, 'EUR') == money(1, 'USD')", false },
  { "money(1, 'EUR') < money(1.01, 'EUR')", true },
  { "money(1, 'EUR') >= money(1.01, 'EUR')", false },
  -- Half to even.
  { "money('0.05', 'EUR'):percent(50).amount", 2 },
  { "money('0.15', 'EUR'):percent(50).amount", 8 },
  { "money('0.05', 'EUR'):percent('10').amount", 0 },
  { "money('-0.15', 'EUR'):percent(50).amount", -8 },
  { "money('19.99', 'EUR'):percent(12.5).amount", 250 },
  { "money('90071992547409.91', 'EUR'):percent(100).amount", 9007199254740991 },
  { "money('90071992547409.91', 'EUR'):percent('99.9999999999').amount", 9007199254731984 },
  { "money(10, 'EUR'):convert('JPY', '163.455').amount", 1635 },
  { "money(1635, 'JPY'):convert('EUR', 0.0061).amount", 997 },
  { "money(10, 'EUR'):split(3)[1].amount", 334 },
  { "money(-10, 'EUR'):split(3)[3].amount", -333 },
  { "#money(0.01, 'EUR'):split(1000)", 1000 },
  { "money.sum({ money(0.1, 'EUR'), money(0.2, 'EUR') }, 'EUR').amount", 30 },
  { "money.sum({}, 'EUR').amount", 0 },
  { "money.parse('12,50 €').amount", 1250 },
  { "money.parse('12,50 €').currency", "EUR" },
  { "money.parse('$12.50').currency", "USD" },
  { "money.parse('CA$12.50').currency", "CAD" },
  { "money.parse('-$1,234.50').amount", -123450 },
  { "money.parse('USD 1.234.567,89').amount", 123456789 },
  { "money.parse('1.234.567 EUR').amount", 123456700 },
  { "money.parse('CHF 1’234.50').amount", 123450 },
  { "money.parse('1 234,50 zł').amount", 123450 },
  { "money.parse('99 kr', 'NOK').currency", "NOK" },
  { "money.parse('12.5', 'EUR').amount", 1250 },
  { "money.parse('1.234', 'KWD').amount", 1234 },
  { "money.parse('¥1234').amount", 1234 },
  { "select(2, money.parse('1.234', 'EUR'))", "it may be thousands or decimals; give it with two decimals" },
  { "select(2, money.parse('12.50'))", "it names no currency" },
  { "select(2, money.parse('$12.50', 'EUR'))", "it is USD, not EUR" },
  { "select(2, money.parse('free', 'EUR'))", "it is no amount" },
  { "select(2, money.parse('1,23,456.00', 'EUR'))", "its groups of thousands are not well-formed" },
  { "select(2, money.parse('12.505,1234', 'EUR'))", "it has more decimals than EUR" },
  { "select(2, money.parse('12.5', 'JPY'))", "it has more decimals than JPY" },
  { "select(2, money.parse('99999999999999999 EUR'))", "it is too large" },
  { "select(2, money.parse(12))", "not a short text" },
}
-- What a text means is what it was written from.
for _, currency in ipairs { "EUR", "USD", "GBP", "JPY", "KWD", "CHF", "SEK", "PLN", "BRL", "CAD" } do
  for _, style in ipairs { "en", "de", "fr", "nl", "ch", "sv" } do
    local made = ("money.of_cents(-123456789, '%s')"):format(currency)
    cases[#cases + 1] = { ("money.parse(%s:format '%s', '%s') == %s"):format(made, style, currency, made), true }
  end
end

local failures = {
  { "money(1, 'eur')", 'kairos.money: the currency must be a code of ISO 4217 such as "EUR", not "eur"; did you mean "EUR"?' },
  { "money(1)", 'kairos.money: the currency must be a code of ISO 4217 such as "EUR", not a nil' },
  { "money('12,50', 'EUR')", 'kairos.money: the amount must be a number, or text such as "12.50", not "12,50"; for text as people '
    .. 'write it: kairos.money.parse("12,50 €")' },
  { "money('12.505', 'EUR')", 'kairos.money: EUR has 2 decimals, and "12.505" has 3' },
  { "money(nil, 'EUR')", 'kairos.money: the amount must be a number, or text such as "12.50", not a nil' },
  { "money(1/0, 'EUR')", 'kairos.money: the amount must be a number, or text such as "12.50", not inf' },
  { "money(1, 'EUR') + money(1, 'USD')", 'money + money: EUR and USD are different currencies; convert one first: '
    .. 'price:convert("EUR", rate)' },
  { "money(1, 'EUR') + 1", 'money + money: both must be money; write kairos.money(12.5, "EUR") instead of 1' },
  { "money(1, 'EUR') < money(1, 'USD')", 'money < money: EUR and USD are different currencies; convert one first: '
    .. 'price:convert("EUR", rate)' },
  { "money(90071992547409, 'EUR') + money(1, 'EUR')", "kairos.money: the result is beyond what can be told exactly: "
    .. "±9007199254740991 of the smallest unit" },
  { "money(1e15, 'EUR')", "kairos.money: the result is beyond what can be told exactly: ±9007199254740991 of the smallest unit" },
  { "money(1, 'EUR'):times 'two'", 'money:times: the factor must be a number of at most 15 digits, not "two"' },
  { "money(1, 'EUR'):split(0)", "money:split: the number of parts must be a whole number from 1 to 1000, not 0" },
  { "money(1, 'EUR'):format 'xx'", 'money:format: there is no style "xx"; there are: ch, cs, da, de, en, es, fi, fr, hu, it, nb, '
    .. 'nl, pl, pt, sv, tr' },
  { "money.of_cents(1.5, 'EUR')", "kairos.money.of_cents: the amount must be a whole number, not 1.5" },
}

describe("kairos.money", function()
  it("is exact, and reads well", function()
    library.hold_in_plain_lua({ "money" }, cases)
  end)

  it("does the same in the host", function()
    library.hold_in_host({ "money" }, cases)
  end)

  it("says what is wrong with an argument", function()
    library.fail_in_host({ "money" }, failures)
  end)

  it("rounds as Python's decimal does", function()
    local script = [[
import random
from decimal import Decimal, ROUND_HALF_EVEN
random.seed(3)
for _ in range(4000):
    amount = random.randrange(-10**random.randrange(1, 16), 10**random.randrange(1, 16))
    places = random.randrange(0, 9)
    factor = Decimal(random.randrange(0, 10**random.randrange(1, 11))).scaleb(-places)
    if random.random() < 0.3: # a tie
        amount, factor = 2 * amount + 1, Decimal(50)
    result = (amount * factor / 100).quantize(Decimal(1), ROUND_HALF_EVEN)
    if abs(amount) < 2**53 and abs(result) < 2**53: print(amount, f"{factor:f}", result)
]]
    local result = process.run { command = { "python3", "-c", script } }
    assert.equal(0, result.status, result.err)
    local money, compared = library.plain "money", 0
    for amount, factor, wanted in result.out:gmatch "(%S+) (%S+) (%S+)\n" do
      local got = ("%.0f"):format(money.of_cents(tonumber(amount), "EUR"):percent(factor).amount)
      assert.equal(wanted:gsub("^-0$", "0"), (got:gsub("^-0$", "0")), amount .. " * " .. factor .. " %")
      compared = compared + 1
    end
    assert.is_true(compared > 2000)
  end)

  it("keeps all of it when it splits", function()
    local money = library.plain "money"
    math.randomseed(5)
    for _ = 1, 500 do
      local whole, parts = money.of_cents(math.random(-100000, 100000), "EUR"), math.random(1, 50)
      assert.equal(whole.amount, money.sum(whole:split(parts), "EUR").amount)
    end
  end)

  it("takes any text as an amount, or says no", function()
    local money = library.plain "money"
    math.randomseed(6)
    local letters = { "1", "0", "9", ".", ",", "-", "€", "$", " ", "EUR", "kr", "'", "x", BLANK }
    for _ = 1, 5000 do
      local text = {}
      for i = 1, math.random(0, 12) do text[i] = letters[math.random(#letters)] end
      local got, why = money.parse(table.concat(text), "EUR")
      assert.is_truthy(got and got.amount % 1 == 0 or why)
    end
  end)
end)
