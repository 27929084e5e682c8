-- kairos.text, in plain Lua and in the host; letters against Python's Unicode tables. From the project's root: busted spec/lua
local library = require "spec.lua.support.library"
local process = require "spec.functional.support.process"

local cases = {
  { "text.length 'Zoë'", 3 },
  { "text.length ''", 0 },
  { "text.length '日本語'", 3 },
  { "text.length '👍🏽'", 2 },
  { "text.length '\\255\\254a'", 3 },
  { "text.length '\\226\\130'", 2 },
  { "text.trim '  \\t hello \\n'", "hello" },
  { "text.trim '   '", "" },
  { "text.trim ''", "" },
  { "text.split 'red, blue,,green '", { "red", "blue", "green" } },
  { "text.split ('a | b|c', '|')", { "a", "b", "c" } },
  { "text.split ('a.b', '.')", { "a", "b" } },
  { "text.split ''", {} },
  { "text.starts_with ('COFFEE-12', 'COFFEE')", true },
  { "text.starts_with ('a.c', 'a%')", false },
  { "text.ends_with ('a.jpg', '.jpg')", true },
  { "text.ends_with ('a', '')", true },
  { "text.ends_with ('g', '.jpg')", false },
  { "text.contains ('50% off', '50%')", true },
  { "text.upper 'straße ñandú ψυχή жук'", "STRAßE ÑANDÚ ΨΥΧΉ ЖУК" },
  { "text.lower 'ÀÉÎÕÜ ŁÓDŹ ΨΥΧΉ ЖУК'", "àéîõü łódź ψυχή жук" },
  { "text.title 'anna-lena o\\'neil müller'", "Anna-Lena O'Neil Müller" },
  { "text.title 'ÉMILE ZOLA'", "Émile Zola" },
  { "text.title 'ian McKay'", "Ian McKay" },
  { "text.title 'östen'", "Östen" },
  { "text.title ''", "" },
  { "text.truncate ('Washed Yirgacheffe from Ethiopia', 20)", "Washed Yirgacheffe…" },
  { "text.truncate ('Zoë', 3)", "Zoë" },
  { "text.truncate ('Zoë', 2)", "Z…" },
  { "text.truncate ('日本語テキスト', 4)", "日本語…" },
  { "text.truncate ('Kaffeemühle', 8, '...')", "Kaffe..." },
  { "text.truncate ('Kaffee', 0)", "" },
  { "text.truncate ('Kaffee', 2, '...')", "Ka" },
  { "text.truncate ('a b', 3)", "a b" },
  { "text.slug 'Crème brûlée & Kaffee'", "creme-brulee-kaffee" },
  { "text.slug 'Straße Łódź Ærø'", "strasse-lodz-aero" },
  { "text.slug '  --  '", "" },
  { "text.slug 'it\\'s 50% off!'", "its-50-off" },
  { "text.slug '日本'", "" },
  { "text.mask 'ada@mail.example'", "a•••@mail.example" },
  { "text.mask 'ü@mail.example'", "ü•••@mail.example" },
  { "text.mask '+49 170 1234567'", "•••4567" },
  { "text.mask 'secret'", "•••" },
  { "text.mask ''", "•••" },
  { "text.initials 'ada von lovelace'", "AL" },
  { "text.initials 'Östen'", "Ö" },
  { "text.initials ''", "" },
}
local failures = {
  { "text.trim(nil)", "kairos.text.trim: the first value must be text, not a nil" },
  { "text.upper(12)", "kairos.text.upper: the first value must be text, not 12" },
  { "text.split('a', '')", 'kairos.text.split: the separator must be text, such as ",", not ""' },
  { "text.truncate('a', 1.5)", "kairos.text.truncate: the length must be a whole number from 0 to 1000000, not 1.5" },
  { "text.truncate('a', -1)", "kairos.text.truncate: the length must be a whole number from 0 to 1000000, not -1" },
}

describe("kairos.text", function()
  it("counts and cuts characters, not bytes", function()
    library.hold_in_plain_lua({ "text" }, cases)
  end)

  it("does the same in the host", function()
    library.hold_in_host({ "text" }, cases)
  end)

  it("says what is wrong with an argument", function()
    library.fail_in_plain_lua({ "text" }, failures)
    library.fail_in_host({ "text" }, failures)
  end)

  it("knows capitals as Unicode does", function()
    local script = [[
for ranges in ((0x41, 0x250), (0x370, 0x400), (0x400, 0x460), (0x490, 0x492), (0x218, 0x21c), (0x1e9e, 0x1e9f)):
    for code in range(*ranges):
        letter = chr(code)
        if letter.isalpha():
            upper, lower = letter.upper(), letter.lower()
            print(letter, upper if len(upper) == 1 else letter, lower if len(lower) == 1 else 'i')
]]
    local result = process.run { command = { "python3", "-X", "utf8", "-c", script } }
    assert.equal(0, result.status, result.err)
    local text, known = library.plain "text", 0
    for letter, upper, lower in result.out:gmatch "(%S+) (%S+) (%S+)\n" do
      -- Letters that are not in the tables (Croatian digraphs, Coptic …) stay as they are.
      if text.upper(letter) ~= letter then
        assert.equal(upper, text.upper(letter))
        known = known + 1
      end
      if text.lower(letter) ~= letter then
        assert.equal(lower, text.lower(letter))
      end
    end
    assert.is_true(known > 180, known)
  end)

  it("takes any bytes", function()
    local text = library.plain "text"
    math.randomseed(1)
    for _ = 1, 2000 do
      local bytes = {}
      for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, 255)) end
      local value = table.concat(bytes)
      for _, name in ipairs { "length", "trim", "split", "upper", "lower", "title", "slug", "mask", "initials" } do
        text[name](value)
      end
      assert.is_true(text.length(text.truncate(value, 10)) <= 10)
      assert.is_truthy(text.slug(value):find "^[a-z0-9-]*$")
    end
  end)
end)
