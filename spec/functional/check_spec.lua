-- kairos check as a whole: every problem of every campaign in one run, for people and for editors.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local RIGHT = [[
local kairos = require "kairos"
return kairos.rule { on = "x", act = function(_, user) user:set("seen", true) end }
]]

describe("kairos check", function()
  local directory
  before_each(function() directory = files.temporary() end)
  after_each(function() files.remove(directory) end)

  --- Write campaigns, each a rule.lua's text or {file = text}, and check them.
  local function check(rules, ...)
    for campaign, content in pairs(rules) do
      if type(content) == "string" then content = { ["rule.lua"] = content } end
      for name, text in pairs(content) do files.write(("%s/rules/%s/%s"):format(directory, campaign, name), text) end
    end
    return process.run { command = { Host.binary, "check", "--rules", directory .. "/rules", ... }, seconds = 60 * Host.patience }
  end

  it("tells the problems of every campaign in one run, and goes on behind each", function()
    local result = check {
      first = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x", act = function() end }',
      second = RIGHT,
      third = { ["rule.lua"] = RIGHT, ["broken.html"] = "{{#open}}" },
      fourth = "local = 5",
    }
    assert.equal(1, result.status)
    for _, place in ipairs { "first/rule.lua:2:", "third/broken.html:1:", "fourth/rule.lua:1:" } do
      assert.truthy(result.err:find("rules/" .. place, 1, true), place .. " is not in: " .. result.err)
    end
    assert.falsy(result.err:find("second", 1, true), result.err)
  end)

  it("answers editors in JSON", function()
    local result = check({ first = 'local kairos = require "kairos"\nreturn kairos.rule { onn = "x" }' }, "--json")
    assert.equal(1, result.status)
    local answer = cjson.decode(result.out)
    assert.equal(#answer.problems, answer.errors + answer.warnings + answer.notes)
    local problem = answer.problems[1]
    assert.same({ "error", 2, 20, 21 }, { problem.severity, problem.line, problem.column, problem.end_column })
    assert.equal('return kairos.rule { onn = "x" }', problem.text)
  end)
end)
