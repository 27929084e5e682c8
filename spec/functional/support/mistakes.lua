--- Campaigns with a mistake in them, and what `kairos check` says of each.
local assert = require "luassert"
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local mistakes = {}

--- Check a campaign "suspect" alone; there is a template hello.html where the rule names it.
-- @param others  what else is in the folder, by file
-- @return what is said, a text each without the rule's path, and the result
function mistakes.check(rule, others)
  local directory = files.temporary()
  local folder = directory .. "/suspect/"
  files.write(folder .. "rule.lua", rule)
  if rule:find('"hello"', 1, true) then files.write(folder .. "hello.html", "---\nsubject: Hello\n---\nHello") end
  for name, text in pairs(others or {}) do files.write(folder .. name, text) end
  local result = process.run { command = { Host.binary, "check", "--rules", directory }, seconds = 60 * Host.patience }
  local said = {}
  for line in result.err:gmatch "[^\n]+" do
    -- The place and the message; below them stands the line with its mark.
    local message = not line:find "^ " and line:gsub((directory .. "/suspect/"):gsub("%p", "%%%0"), "")
    if message then said[#said + 1] = (message:gsub("^rule%.lua:", "")) end
  end
  files.remove(directory)
  return said, result
end

--- Raise unless of { what, rule.lua, what is said …, files = what else is in the folder } that is said, and no more.
function mistakes.expect(mistake)
  local expected = {}
  for index = 3, #mistake do expected[#expected + 1] = mistake[index] end
  local said, result = mistakes.check(mistake[2], mistake.files)
  assert.same(expected, said)
  local failed = table.concat(expected, "\n"):find("%f[%w]error: ") ~= nil
  assert.equal(failed and 1 or 0, result.status)
end

return mistakes
