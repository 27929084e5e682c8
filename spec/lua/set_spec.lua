-- kairos.set, in plain Lua and in the host.
local library = require "spec.lua.support.library"

local cases = {
  { "set.unique { 'b', 'a', 'b' }", { "b", "a" } },
  { "set.count { 1, 2, 1, true, '1' }", 4 },
  { "set.count {}", 0 },
  { "set.has ({ 'red', 'blue' }, 'red')", true },
  { "set.has ({ 'red' }, 'green')", false },
  { "set.has ({ 'red' }, nil)", false },
  { "set.has ({ false }, false)", true },
  { "set.union ({ 'a', 'b' }, { 'b', 'c' })", { "a", "b", "c" } },
  { "set.intersect ({ 'a', 'b', 'a' }, { 'b', 'a' })", { "a", "b" } },
  { "set.without ({ 'a', 'b', 'c' }, { 'b' })", { "a", "c" } },
  { "set.contains ({ 'a', 'b' }, { 'b', 'b' })", true },
  { "set.contains ({ 'a' }, { 'b' })", false },
  { "set.contains ({ 'a' }, {})", true },
}
local failures = {
  { "set.has('red', 'red')", 'kairos.set.has: write lists such as { "red", "blue" }, not "red"' },
  { "set.unique { {} }", "kairos.set.unique: element 1 must be text, a number, true or false, not a table" },
  { "set.unique { 1, 0/0 }", "kairos.set.unique: element 2 must be text, a number, true or false, not "
    .. (tostring(0 / 0):gsub("^-", "")) },
}

describe("kairos.set", function()
  it("takes lists as sets", function()
    library.hold_in_plain_lua({ "set" }, cases)
  end)

  it("does the same in the host", function()
    library.hold_in_host({ "set" }, cases)
  end)

  it("says what is wrong with an argument", function()
    library.fail_in_host({ "set" }, failures)
  end)

  it("changes no list", function()
    local set, list = library.plain "set", { "a", "b", "a" }
    set.union(list, { "c" })
    set.unique(list)
    assert.same({ "a", "b", "a" }, list)
  end)
end)
